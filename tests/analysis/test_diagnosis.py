"""Each rule of the diagnosis on logs made by hand: one that it must speak of, and healthy ones that it must not."""

import dataclasses
import math

import numpy as np
import pytest

from rlsuite.analysis.causes import CAUSES, told_apart_by
from rlsuite.analysis.diagnosis import Finding, Log, diagnose
from rlsuite.analysis.likeness import looks_like
from rlsuite.analysis.rules import RULES, seeds_disagree, signs_of_life
from rlsuite.analysis.shape_rules import below_the_reference
from rlsuite.rundir.references import Reference

EPOCHS = 40
T = np.linspace(0, 1, EPOCHS)
SHARED = {
    "TotalEnvInteracts": 1000 * np.arange(1, EPOCHS + 1.0), "GradSteps": 500 * np.arange(1, EPOCHS + 1.0),
    "AverageEpRet": 20 + 300 * T, "StdEpRet": 10 + 40 * T, "MinEpRet": 10 + 200 * T, "MaxEpRet": 40 + 450 * T,
    "EpLen": 20 + 300 * T, "TruncatedShare": 0.2 * T, "RewMin": 0 * T, "RewMax": 0 * T + 1, "RewMean": 0 * T + 0.99,
    "RewStd": 0 * T + 0.1, "RewTerminal": 0 * T + 1, "ActionShareMax": 0 * T + 0.55, "InputAbsMax": 0 * T + 4,
    "InputStdMin": 0 * T + 0.2, "InputStdMax": 0 * T + 1, "DeadUnits": 0 * T + 0.05, "ExplainedVariance": 0.7 * T,
    "ReturnMean": 10 + 30 * T, "ValueMean": 9 + 30 * T, "ValueStd": 2 + 4 * T, "ValueBias": 0 * T - 1,
    "KL": 0 * T + 0.01,
    "TargetMin": 0 * T, "TargetMax": 20 + 60 * T,
}  # fmt: skip
ON_POLICY = SHARED | {
    "UpdateRatioPi": 0 * T + 0.01, "UpdateRatioV": 0 * T + 0.02, "GradNormPi": 0 * T + 0.1,
    "EntropyShare": 0.99 - 0.4 * T,
    "AdvLogpCorr": 0 * T + 0.2, "AdvReturnCorr": 0 * T + 0.6, "AdvStd": 0 * T + 3, "ExplainedVarianceAfter": 0.8 * T,
    "StopIter": 0 * T + 1, "ClippedGradPi": 0 * T + 1, "Ratio1": 0 * T + 1e-6,
    "ClippedActions": 0 * T + 0.1, "LogStd": -0.5 - 0.3 * T,
}  # fmt: skip
OFF_POLICY = SHARED | {
    "UpdateRatioQ": 0 * T + 0.05, "GradNormQ": 1 + 20 * T, "ExplainedVarianceTD": 0.5 + 0.45 * T,
    "TDError": 0 * T + 0.3,
    "TargetGap": 0 * T + 0.4, "AverageTestEpRet": 30 + 350 * T,
}  # fmt: skip
DQN = OFF_POLICY | {"Epsilon": np.clip(1 - 5 * T, 0.05, 1), "EntropyShare": np.clip(1 - 5 * T, 0.2, 1)}
SAC = OFF_POLICY | {
    "UpdateRatioPi": 0 * T + 0.05, "ActorGain": 0 * T + 0.05, "ActionSaturation": 0 * T + 0.2, "Alpha": 0.2 - 0.1 * T,
    "LogStd": 0 * T - 1,
}  # fmt: skip
DDPG = {name: values for name, values in SAC.items() if name not in ("Alpha", "LogStd")} | {"ActNoise": 0 * T + 0.1}
CEM = SHARED | {"EliteRet": 40 + 350 * T, "AverageTestEpRet": 30 + 350 * T, "GradSteps": 0 * T}
ODD = (-1.0) ** np.arange(EPOCHS)
CONFIG = {"algo": "ppo", "env": "CartPole-v1", "total_steps": 40_000, "gamma": 0.99, "seed": 0, "pi_lr": 3e-4,
          "random_play": {"return": 22.0, "return_std": 10.0}}  # fmt: skip
LOW = {"AverageEpRet": 21 + 0 * T, "AverageTestEpRet": 21 + 0 * T, "MaxEpRet": 60 + 0 * T, "EpLen": 21 + 0 * T}


def changed(columns, **changes):
    """A log with other columns; of a name with two parts, those that the algorithm has."""
    config = {**CONFIG, **changes.pop("config", {})}
    return Log(
        {**columns, **{name: 0 * T + values for name, values in changes.items()}}, config, config.pop("error", "")
    )


def low(columns, **changes):
    """A log without learning, and with other columns."""
    return changed({**columns, **{name: values for name, values in LOW.items() if name in columns}}, **changes)


RETURNED = SHARED["AverageEpRet"]
REFERENCE = Reference(
    *("ppo_CartPole-v1", "ppo", "CartPole-v1", "{}", "", 8),
    *(SHARED["TotalEnvInteracts"], RETURNED, RETURNED - 10, RETURNED + 10),
)  # 95% of such runs return more than RETURNED - 30 - 15
ALONE = [rule for rule in RULES if rule is not looks_like]  # logs made by hand look like no run
CASES = {
    "no number": (low(ON_POLICY, config={"error": "the loss is nan at env step 5"}), "high learning rate"),
    "the policy stands still": (low(ON_POLICY, UpdateRatioPi=0.0, KL=0.0, AdvLogpCorr=math.nan), "policy not trained"),
    "the policy creeps": (low(ON_POLICY, UpdateRatioPi=1e-5, KL=1e-8), "low learning rate"),
    "the critic stands still": (low(ON_POLICY, UpdateRatioV=0.0), "critic not trained"),
    "the update goes against the advantages": (low(ON_POLICY, AdvLogpCorr=-0.2), "sign"),
    "the update does not follow the advantages": (low(ON_POLICY, AdvLogpCorr=0.004 * np.sin(30 * T)), "credit"),
    "the advantages are not those of the returns": (low(ON_POLICY, AdvReturnCorr=0.02), "credit"),
    "the policy climbs down": (low(SAC, ActorGain=-0.05), "sign"),
    "the ratio does not start at 1": (low(ON_POLICY, Ratio1=0.3), "old policy"),
    "large steps": (low(ON_POLICY, KL=3.0), "high learning rate"),
    "entropy collapse": (low(ON_POLICY, EntropyShare=np.clip(1 - 8 * T, 0.001, 1)), "little exploration"),
    "entropy does not fall": (low(ON_POLICY, EntropyShare=0.999), "low learning rate"),
    "always the same action": (low(DQN, ActionShareMax=1.0), "little exploration"),
    "the critic explains nothing": (low(ON_POLICY, ExplainedVariance=-0.4), "targets"),
    "values beyond what is possible": (low(DQN, TargetMax=1000.0), "bootstrap"),
    "no future in the targets": (low(DQN, TargetMax=1.0, TargetGap=30.0), "target network"),
    "the target network does not lag": (low(DQN, TargetGap=0.0), "target network"),
    "the target network stays behind": (low(DQN, TargetGap=60.0), "target network"),
    "over-estimation": (low(DQN, ValueBias=400.0), "bootstrap"),
    "inputs are not of order 1": (low(ON_POLICY, InputStdMax=4000.0), "observation scale"),
    "the observation never changes": (low(ON_POLICY, InputStdMax=0.0), "empty observation"),
    "returns are not of order 1": (low(DQN, ReturnMean=-1e5), "reward scale"),
    "the reward is never seen": (low(DQN, RewMax=0.0), "no reward"),
    "what is learned from holds no reward": (low(ON_POLICY, ReturnMean=0.0, AdvStd=0.01), "no reward"),
    "the reward comes at the end": (low(DQN, RewMin=0.0, RewMax=60.0, MinEpRet=0.0, EpLen=80.0), "late reward"),
    "a short horizon": (low(DQN, config={"gamma": 0.1}), "discount"),
    "no noise": (low(DDPG, ActNoise=0.0, config={"start_steps": 0}), "little exploration"),
    "exploration never ends": (low(DQN, Epsilon=1.0), "endless exploration"),
    "more random than epsilon says": (changed(DQN, AverageEpRet=22.0), "endless exploration"),
    "actions beyond their bounds": (low(ON_POLICY, ClippedActions=0.95), "endless exploration"),
    "sigma near 0": (low(ON_POLICY, LogStd=-8.0), "little exploration"),
    "the temperature rises without end": (low(SAC, Alpha=0.2 + 50 * T), "endless exploration"),
    "actions at their bounds": (low(SAC, ActionSaturation=0.99), "high learning rate"),
    "the greedy action flips": (low(DQN, GreedyFlips=0.95), "high learning rate"),
    "dead units": (low(DQN, DeadUnits=0.95), "high learning rate"),
    "few samples per update": (low(DQN, config={"batch_size": 1}), "little data"),
    "few gradient steps": (low(DQN, GradSteps=5 * T), "low learning rate"),
    "the critic does not fit its targets": (low(DQN, ExplainedVarianceTD=-0.2), "credit"),
    "worse than random play": (changed(ON_POLICY, AverageEpRet=5.0), "sign"),
    "it seeks the end": (
        changed(
            ON_POLICY,
            AverageEpRet=-20 + 11 * T,
            EpLen=20 - 11 * T,
            TruncatedShare=0.0,
            config={"random_play": {"return": -20.0, "return_std": 10.0, "length": 20.0, "time_limits": 0.0}},
        ),
        "sign",
    ),
    "not learning": (low(ON_POLICY), ""),
    "no random actions": (low(DQN, Epsilon=0.0), "little exploration"),
    "ratios against the KL": (low(ON_POLICY, ClipFrac=0.4, KL=0.005, config={"clip_ratio": 0.2}), "old policy"),
    "the critic settles too low": (changed(ON_POLICY, ValueMean=6.0, ReturnMean=40.0), "targets"),
    "the critics differ": (low(SAC, LossQ=0.01, LossQ2=1.0), "critic not trained"),
    "entropy outweighs rewards": (low(SAC, Alpha=40.0), "endless exploration"),
    "values of the other sign": (low(DQN, ValueMean=-20.0), "sign"),
    "a part of the observation never varies": (low(ON_POLICY, InputStdMin=0.0), "empty observation"),
    "the candidates hardly differ": (low(CEM, ParamStd=1e-8), "little exploration"),
    "noise above all actions": (low(DDPG, ActNoise=5.0), "endless exploration"),
    "a wild step": (low(ON_POLICY, KL=np.where(np.arange(EPOCHS) == 2, 40.0, 0.01)), "high learning rate"),
    "entropy constant": (low(ON_POLICY, EntropyShare=0.4), ""),
    "entropy swings": (low(ON_POLICY, EntropyShare=0.5 + 0.45 * ODD), ""),
    "entropy falls fast": (low(ON_POLICY, EntropyShare=1 - 2.5 * T).until(15), ""),
    "KL spikes": (low(ON_POLICY, KL=np.where(np.arange(EPOCHS) % 4, 0.01, 5.0)), ""),
    "the critic explains no more": (low(ON_POLICY, ExplainedVariance=np.where(T < 0.5, 0.8, -0.2)), ""),
    "below the reference": (
        dataclasses.replace(changed(ON_POLICY, AverageEpRet=20 + 200 * T), reference=REFERENCE),
        "",
    ),
    "explained from the start": (low(ON_POLICY, ExplainedVariance=0.995), "targets"),
    "all episodes equal": (low(DQN, StdEpRet=0.0), "no reward"),
    "cut off at any time": (low(ON_POLICY, TruncatedShare=1.0, EpLen=21 + 3 * ODD), "bootstrap"),
    "it acts in vain": (low(DQN, AverageEpRet=22 + ODD), "idle action"),
    "learned and lost": (
        low(ON_POLICY, AverageEpRet=20 + 400 * np.exp(-(((T - 0.4) / 0.15) ** 2))),
        "",  # sound runs waver, too
    ),
    "the elite is worse": (low(CEM, EliteRet=15.0), "sign"),
    "the elite was lucky": (low(CEM, EliteRet=200.0), "credit"),
    "early stop in every epoch": (
        low(ON_POLICY, StopIter=1.0, config={"train_iters": 10, "target_kl": 0.01}),
        "high learning rate",
    ),
    "the gradient vanishes": (low(ON_POLICY, GradNormPi=1e-9), "policy not trained"),
    "every gradient is clipped": (low(ON_POLICY, GradNormPi=80.0, config={"max_grad_norm": 0.5}), "reward scale"),
    "it grows without end": (low(DQN, GradNormQ=np.exp(12 * T)), "high learning rate"),
    "no step is accepted": (low(ON_POLICY, StepAccepted=0.0), "sign"),
    "certain beyond measure": (low(SAC, Entropy=-1e5), "little exploration"),
    "it learns something else": (low(ON_POLICY, AverageEpRet=12.0), "credit"),
    "the critic leaps": (low(ON_POLICY, UpdateRatioV=np.where(T > 0, 0.02, 300.0)), "high learning rate"),
    "test episodes never change": (low(DQN, AverageTestEpRet=21.5, StdTestEpRet=7.0), "idle action"),
    "the critic creeps": (low(DQN, UpdateRatioQ=1e-5), "low learning rate"),
    "few generations": (low(CEM, Generation=np.floor(2 * T)), "low learning rate"),
    "it begins late": (low(DQN, config={"update_after": 25_000}), "low learning rate"),
    "updates are large": (low(ON_POLICY, UpdateRatioPi=3.0), "high learning rate"),
}


def names(log):
    return [finding.rule for finding in diagnose(log, RULES).findings]


@pytest.mark.parametrize("columns", [ON_POLICY, DQN, SAC, DDPG, CEM], ids=["on-policy", "dqn", "sac", "ddpg", "cem"])
def test_of_a_healthy_run_nothing_is_said(columns):
    log = changed(columns)
    assert [names(log.until(epochs)) for epochs in range(EPOCHS + 1)] == [[]] * (EPOCHS + 1)


@pytest.mark.parametrize("rule", CASES)
def test_what_is_wrong_has_a_name_and_its_cause_is_among_the_first_three(rule):
    log, cause = CASES[rule]
    found = diagnose(log, ALONE)
    assert rule in [finding.rule for finding in found.findings]
    assert cause == "" or cause in found.causes[:3]


def test_every_rule_has_a_case_and_every_finding_says_what_it_must():
    said = {rule for log, _ in CASES.values() for rule in RULES if rule(log)}
    assert said == set(RULES)
    for log, _ in CASES.values():
        for finding in diagnose(log, RULES).findings:
            assert set(finding.causes) <= set(CAUSES), finding
            assert 0 <= finding.severity <= 1, finding
            assert 0 <= finding.since <= 40_000, finding
            assert finding.text, finding
            assert finding.first or finding.rule == "not learning", finding


def test_a_finding_stands_from_where_it_began():
    late = np.where(np.arange(EPOCHS) < 20, 0.01, 3.0)
    (found,) = [f for f in diagnose(low(ON_POLICY, KL=late), RULES).findings if f.rule == "large steps"]
    assert found.since == pytest.approx(20_000, abs=6000)  # one epoch in five may be otherwise


def test_a_critic_that_explains_all_may_stand_still():
    assert "the critic stands still" in names(low(ON_POLICY, UpdateRatioV=0.0, ExplainedVariance=0.9))
    assert "the critic stands still" not in names(low(ON_POLICY, UpdateRatioV=0.0, ExplainedVariance=1.0))


def test_generations_are_few_in_the_whole_budget():
    assert "few generations" not in names(low(CEM, Generation=np.floor(6 * T)))
    assert "few generations" in names(low(CEM, Generation=np.floor(2 * T)).until(25))
    assert "few generations" not in names(low(CEM, Generation=np.floor(4 * T)).until(25)), "two of four"


@pytest.mark.parametrize(("columns", "setting"), [(ON_POLICY, "--rollout-len"), (DQN, "--update-every")])
def test_more_gradient_steps_are_asked_of_a_setting_that_there_is(columns, setting):
    found = next(f for f in diagnose(low(columns, GradSteps=5 * T), RULES).findings if f.rule == "few gradient steps")
    assert setting in found.first


def test_what_was_and_is_no_more_is_no_finding():
    assert "large steps" not in names(low(ON_POLICY, KL=np.where(np.arange(EPOCHS) < 20, 3.0, 0.01)))


def test_the_cause_that_explains_most_comes_first():
    def says(severity, *causes):
        return lambda log: Finding("x", "", (), 0.0, causes, severity, "", "")

    found = diagnose(Log({}, {}), [says(0.6, "sign", "credit"), says(0.5, "credit"), says(0.2, "discount", "sign")])
    assert found.causes == ["credit", "sign", "discount"]
    assert [finding.severity for finding in found.evidence] == [0.5, 0.6], "the second speaks for credit alone"


def test_a_finding_of_few_causes_says_more_of_each():
    def says(*causes):
        return lambda log: Finding("x", "", (), 0.0, causes, 0.6, "", "")

    assert diagnose(Log({}, {}), [says("sign", "credit", "targets"), says("credit"), says("discount")]).causes == [
        "credit", "discount", "sign", "targets",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "log"),
    [
        ("a part of the observation never varies", low(ON_POLICY, InputStdMin=np.where(T < 0.5, 0.1, 0.0))),
        ("a part of the observation never varies", low(ON_POLICY, InputStdMin=0.0, InputAbsMax=1.0)),
        ("the reward comes at the end", low(DQN, RewMin=-60.0, RewMax=0.5, RewTerminal=-60.0, RewStd=7.0, EpLen=80.0)),
        ("the critics differ", low(SAC, LossQ=1.0, LossQ2=2.0)),
        ("ratios against the KL", low(ON_POLICY, ClipFrac=0.15, KL=0.01, config={"clip_ratio": 0.2})),
        ("ratios against the KL", low(ON_POLICY, ClipFrac=0.0, KL=0.01, config={"train_iters": 10})),
        ("the critic settles too low", low(ON_POLICY, ValueMean=1 + 12 * T, ReturnMean=40.0)),
        ("entropy outweighs rewards", low(SAC, Alpha=5.0)),
        ("inputs are not of order 1", low(ON_POLICY, InputStdMax=0.1, InputAbsMax=1.0, InputStdMin=0.02)),
        ("values of the other sign", low(DQN, ValueMean=-0.5)),
        ("entropy does not fall", low(SAC, Entropy=1.4 - 0.5 * T)),
        # Of runs that learn:
        ("the update goes against the advantages", changed(ON_POLICY, AdvLogpCorr=-0.01)),
        ("a short horizon", changed(ON_POLICY, config={"gamma": 0.5})),
        ("few samples per update", changed(ON_POLICY, config={"rollout_len": 5, "num_envs": 1})),
        ("entropy does not fall", changed(SAC, Entropy=1.4)),
        ("a part of the observation never varies", changed(ON_POLICY, InputStdMin=0.0)),
        ("actions beyond their bounds", changed(ON_POLICY, ClippedActions=0.9, LogStd=-0.5)),
        ("certain beyond measure", changed(SAC, Entropy=-25.0)),
        ("ratios against the KL", low(ON_POLICY, ClipFrac=0.0, KL=0.4, config={"train_iters": 10, "clip_ratio": 1e9})),
    ],
)
def test_what_looks_like_a_fault_and_is_none_is_not_said(rule, log):
    assert rule not in names(log)


@pytest.mark.parametrize(
    ("rule", "log", "cause"),
    [
        ("inputs are not of order 1", low(ON_POLICY, InputStdMax=0.003), "observation scale"),
        ("inputs are not of order 1", low(ON_POLICY, InputAbsMax=100.0), "observation scale"),
        ("entropy does not fall", low(SAC, Entropy=0.68), "policy not trained"),
        ("entropy does not fall", low(ON_POLICY, LogStd=-0.5), "low learning rate"),
        ("every gradient is clipped", changed(ON_POLICY, config={"max_grad_norm": 1e-9}), "low learning rate"),
        ("ratios against the KL", low(ON_POLICY, ClipFrac=0.0, KL=0.4, config={"train_iters": 10}), "old policy"),
        ("it acts in vain", low(ON_POLICY, ExplainedVariance=0.9, KL=0.05), "idle action"),
        ("the critic explains nothing", low(ON_POLICY, ExplainedVariance=0.0, ValueStd=0.01), "empty observation"),
        ("test episodes never change", changed(CEM, AverageTestEpRet=21.5, StdTestEpRet=7.0), "policy not trained"),
    ],
)  # fmt: skip
def test_the_same_finding_has_another_cause_where_the_columns_say_so(rule, log, cause):
    (found,) = [finding for finding in diagnose(log, RULES).findings if finding.rule == rule]
    assert cause == found.causes[0]


def test_targets_without_a_future_tell_a_still_target_from_a_short_horizon():
    still, moving = (low(DQN, TargetMax=1.0, TargetGap=gap) for gap in (30.0, 0.4))
    rule = "no future in the targets"
    first = [[f.causes[0] for f in diagnose(log, RULES).findings if f.rule == rule] for log in (still, moving)]
    assert first == [["target network"], ["bootstrap"]]


@pytest.mark.parametrize("scaled", [False, True])
def test_scaled_targets_are_not_compared_with_rewards_that_are_not_scaled(scaled):
    log = low(DQN, TargetMax=1.0, TargetGap=0.4, config={"scale_reward": scaled})
    assert ("no future in the targets" in names(log)) is not scaled


def test_an_empty_log_has_no_findings():
    assert names(Log({}, CONFIG)) == []


def test_signs_of_life():
    assert signs_of_life(low(ON_POLICY, ExplainedVariance=0.0, EntropyShare=0.99)) == []
    said = signs_of_life(low(ON_POLICY, MaxEpRet=60 + 400 * T, EpLen=20 + 100 * T, StdEpRet=5.0))
    for part in ("best episode", "last longer", "entropy declines", "begins to explain"):
        assert any(part in text for text in said), part


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_a_command(cause):
    for more in (
        {"pi_lr": 3e-4, "ent_coef": 0.0, "rollout_len": 64},
        {"q_lr": 1e-3, "act_noise": 0.1, "buffer_size": 9},
    ):
        config = {k: v for k, v in CONFIG.items() if k != "pi_lr"} | more
        assert told_apart_by(cause, config).startswith("python -m rlsuite.")


def test_the_command_changes_one_setting_and_keeps_those_that_were_given():
    command = "python -m rlsuite.run ppo --env CartPole-v1 --hidden-sizes 32 32 --seed 0 1 --pi-lr 0.3 0.1 --quiet"
    command += " --exp-name x --preset none"
    config = CONFIG | {"command": command, "pi_lr": 0.3, "hidden_sizes": [32, 32], "quiet": True, "exp_name": "x"}
    assert told_apart_by("high learning rate", config) == (
        "python -m rlsuite.run ppo --env CartPole-v1 --hidden-sizes 32 32 --pi-lr 0.03 --preset none"
        " --total-steps 10000 --seed 1"
    )
    short = told_apart_by("discount", config | {"gamma": 0.5})
    assert "--gamma 0.99" in short
    assert "--pi-lr 0.3 " in short
    assert "rlsuite.probe" in told_apart_by("discount", config), "gamma is 0.99 already"
    typed = "python -m rlsuite.run ppo --env=CartPole-v1 --lam=0.5 --no-normalize-obs --note 'it is"
    config |= {"command": typed, "lam": 0.5, "normalize_obs": False}
    assert "--lam 0.5 --normalize-obs False --pi-lr 3 " in told_apart_by("low learning rate", config)


def test_what_is_no_finding_of_ours_is_told_as_such():
    """Damaged settings, another suite's run, random play, and the time before the first update."""
    odd = {"total_steps": "x", "random_play": [1], "command": "'", "gamma": None}
    assert "none is known" in told_apart_by("discount", odd)
    names(low(ON_POLICY, config=odd))
    nothing = {name: 0 * T if name == "KL" else math.nan * T for name in ON_POLICY if name not in SHARED}
    random = low(SHARED | nothing, EntropyShare=1.0, KL=0.0)
    assert names(random) == []
    filling = {name: np.where(T < 0.5, 0.0, DQN[name]) for name in ("UpdateRatioQ", "KL", "TargetGap")}
    waiting = low(DQN | filling, config={"update_after": 20_000})
    assert [names(waiting.until(epochs)) for epochs in range(5, 21)] == [[]] * 16
    assert "the critic stands still" not in names(waiting.until(26))


@pytest.mark.parametrize("after", [25_000, 40_000, 60_000])
def test_that_learning_begins_late_is_said_before_it_begins(after):
    filling = {"UpdateRatioQ": math.nan * T, "UpdateRatioPi": math.nan * T, "KL": 0 * T, "TargetGap": math.nan * T}
    waiting = low(DDPG | filling, config={"update_after": after})
    assert [names(waiting.until(epochs)) for epochs in (1, 20, EPOCHS)] == [["it begins late"]] * 3


def test_an_error_is_a_number_only_if_it_is_one():
    assert "no number" in names(low(ON_POLICY, config={"error": "the policy's loss is NaN"}))
    for error in ("'Env' object has no attribute 'info'", "/data/finance: no space left"):
        assert "no number" not in names(low(ON_POLICY, config={"error": error}))
    world = diagnose(low(ON_POLICY, config={"error": "the reward is not finite: inf"}), ALONE)
    assert world.causes[0] == "reward scale"


def test_seeds_that_disagree_are_told_of_and_those_that_agree_are_not():
    good, bad = changed(ON_POLICY), low(ON_POLICY)
    said = seeds_disagree([good, bad, good])
    assert said.startswith("1 of 3 seeds return what random play does (21), the others 285.4 to 285.4:")
    assert [seeds_disagree(logs) for logs in ([], [good], [bad], [good, good], [bad, bad])] == [""] * 5


def test_no_rule_fails_or_finds_anything_in_a_log_without_numbers():
    nothing = {name: math.nan * T for columns in (ON_POLICY, DQN, SAC, DDPG, CEM) for name in columns}
    empty = {name: values[:0] for name, values in nothing.items()}
    for columns in (nothing, empty, {}):
        assert diagnose(Log(columns, CONFIG), RULES).causes == []


def test_what_harms_only_a_run_that_does_not_learn_is_not_said_of_one_that_does():
    assert names(changed(DQN, ActionShareMax=1.0)) == []
    assert names(low(DQN, ActionShareMax=1.0))[0] == "always the same action"
    # Random play of CartPole returns 22 ± 10 here: 26 is better, but no better than luck.
    assert not changed(ON_POLICY, AverageEpRet=26.0).learned
    assert changed(ON_POLICY, AverageEpRet=33.0).learned
    # The best that was ever seen is 28, and that is what it returns.
    assert changed(ON_POLICY, AverageEpRet=28.0, MaxEpRet=28.0).learned


def test_a_run_is_below_its_reference_if_chance_does_not_explain_it_for_long():
    def said(returns, reference=REFERENCE, epochs=EPOCHS):
        log = dataclasses.replace(changed(ON_POLICY, AverageEpRet=returns), reference=reference)
        return below_the_reference(log.until(epochs))

    assert said(RETURNED - 44) is None  # 10 · √9 + 0.05 · 300 = 45 below is what another run may be
    found = said(RETURNED - 46)
    assert (found.since, found.causes) == (0, ())
    assert "returns 274 at env step 40,000, where 8 runs with these settings return 320 in the mean" in found.text
    assert "97.5% of such runs 275 or more" in found.text
    late = said(np.where(T > 0.6, 20.0, RETURNED))
    assert 20_000 < late.since < 25_000
    assert said(np.where(T > 0.75, 20.0, RETURNED)) is None  # for less than 0.3 of the budget
    assert said(np.where(T < 0.6, 0.0, RETURNED)) is None  # no more
    assert said(RETURNED - 200, None) is None
    assert said(RETURNED - 200, REFERENCE._replace(low=math.nan * RETURNED)) is None  # of two seeds
    assert said(RETURNED - 200, REFERENCE._replace(runs=120)) is not None
    assert said(RETURNED - 120, REFERENCE._replace(runs=120)) is None  # 10 · √121 + 15 = 125
    longer = REFERENCE._replace(steps=REFERENCE.steps + 45_000)  # nothing is known of the run's steps
    assert said(RETURNED - 400, longer) is None
