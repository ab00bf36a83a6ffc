"""A third set of faults and of healthy runs, on which the diagnosis is judged once more.

It was written by someone who had not read the rules, their thresholds, or anything that came of them, before the rules
were changed for the third time. It knew the causes, the faults of `planted_faults.py` and `planted_fresh.py`, and the
text that it plants faults in. The trainings that faults are planted in are the `CELLS` of `planted_faults.py`, and one
more. No rule was shown one of these runs before it was judged.
"""

from planted_faults import CELLS, FAULTS, HARD, LONG, SOON, UNSEEN, Fault, edit, setting, world
from planted_fresh import FRESH, FRESH_HEALTHY

from rlsuite.analysis.causes import CAUSES

# Of A2C's returns in CELLS the standard deviation is so large that no fault can lower them by three.
LATER_CELLS = {
    "a2c CartPole steady": (
        "a2c",
        "CartPole-v1",
        "--preset none --total-steps 30000 --steps-per-epoch 1000 --rollout-len 16 --lam 0.95 --pi-lr 3e-3"
        " --vf-lr 3e-3",
    ),
}

# fmt: off
LATER: list[Fault] = [
    # ---- ppo
    edit("ppo CartPole", "the learning rate grows with each rollout", "high learning rate", "common/training.py",
         "opt.lr = opt.base_lr * self.share_left", "opt.lr /= self.share_left"),
    edit("ppo InvertedPendulum", "it goes on acting with the first weights", "old policy", "common/actor_critic.py",
         "return pi.sample()", "return self.__dict__.setdefault('first', __import__('copy').deepcopy(self.pi))"
         "(self.encode(obs)).sample()"),
    edit("ppo InvertedPendulum", "observations by environment, all else by time", "credit", "common/buffer.py",
         "x = ac.encode(buf.obs.reshape(", "x = ac.encode(buf.obs.swapaxes(0, 1).reshape("),
    edit("ppo InvertedPendulum", "log-probabilities without a graph", "policy not trained", "algos/ppo.py",
         "pi.log_prob(batch.act[j])", "pi.log_prob(batch.act[j]).detach()"),
    world("ppo CartPole", "rewards are paid every fifty steps", "late reward", "WageReward"),
    world("ppo InvertedPendulum", "the observation is noise", "empty observation", "RandomObservation"),
    # ---- vpg
    edit("vpg CartPole", "it goes on acting on the first observation", "empty observation", "algos/vpg.py",
         "obs = envs.obs  # next_obs", "pass  # next_obs"),
    edit("vpg CartPole", "the entropy bonus is summed over the samples", "endless exploration", "algos/vpg.py",
         "pi.entropy().mean()", "pi.entropy().sum()", "--ent-coef 1"),
    edit("vpg CartPole", "the first action begins with a large bias", "little exploration", "common/actor_critic.py",
         "int(act_space.n)], activation, out_gain=0.01)",
         "int(act_space.n)], activation, out_gain=0.01); self.layers[-1].bias.data[0] = 12"),
    edit("vpg CartPole", "gradients are set to 0 between backward and step", "policy not trained", "algos/vpg.py",
         "    pi_opt.step()  # one", "    pi_opt.grad.zero_(); pi_opt.step()  # one"),
    edit("vpg CartPole", "actions by environment, all else by time", "credit", "common/buffer.py",
         "self.act.reshape(len(x),", "self.act.swapaxes(0, 1).reshape(len(x),"),
    world("vpg CartPole", "the time of day is among the observations", "observation scale", "TimestampObservation"),
    # ---- a2c
    edit("a2c CartPole steady", "the critic's target carries the gradient", "critic not trained", "common/buffer.py",
         "flat_adv + val.detach()", "flat_adv + val"),
    edit("a2c CartPole steady", "the critic's target is its value less the advantage", "targets", "common/buffer.py",
         "flat_adv + val.detach()", "val.detach() - flat_adv"),
    edit("a2c CartPole steady", "the last step of a rollout has no future", "bootstrap", "common/buffer.py",
         "rew + gamma * next_val * ~terminated", "rew + gamma * np.r_[next_val[:-1], 0 * next_val[-1:]] * ~terminated"),
    edit("a2c CartPole steady", "the mean square stays 0", "high learning rate", "common/optim.py",
         "self.v.mul_(0.99).addcmul_(self.grad, self.grad, value=0.01)",
         "self.v.mul_(0.99).addcmul_(self.grad, self.grad, value=0.0)"),
    edit("a2c CartPole steady", "rewards are taken for costs", "sign", "algos/a2c.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, -rew,"),
    edit("a2c CartPole steady", "the learning rate has fallen to nothing after a hundredth", "low learning rate",
         "common/training.py", "opt.base_lr * self.share_left", "opt.base_lr * self.share_left**500",
         "--lr-schedule linear"),
    # ---- trpo
    edit("trpo CartPole", "the gradient is set to 0 before it is used", "policy not trained", "algos/trpo.py",
         "pi_flat.average_gradient()", "pi_flat.grad.zero_(); pi_flat.average_gradient()"),
    edit("trpo CartPole", "the return is subtracted from the value", "sign", "algos/trpo.py",
         "adv = standardize(batch.adv)", "adv = standardize(batch.val - batch.ret)"),
    setting("trpo CartPole", "three updates in all", "low learning rate", "--rollout-len 1250"),
    setting("trpo CartPole", "gamma 0", "discount", "--gamma 0"),
    world("trpo CartPole", "speeds are not observed", "empty observation", "SpeedlessObservation"),
    # ---- dqn
    edit("dqn CartPole", "each observation is joined to the action of the step before", "credit", "common/replay.py",
         "for ring in (self.obs, self.act, self.rew, self.terminated)",
         "for ring in (self.obs, np.roll(self.act, 1), self.rew, self.terminated)"),
    edit("dqn CartPole", "the end of an episode is marked one step late", "bootstrap", "common/replay.py",
         "for ring in (self.obs, self.act, self.rew, self.terminated)",
         "for ring in (self.obs, self.act, self.rew, np.roll(self.terminated, 1))"),
    edit("dqn CartPole", "targets are clipped to ±1", "targets", "algos/dqn.py",
         "next_act, config.gamma)", "next_act, config.gamma).clamp(-1, 1)"),
    setting("dqn Acrobot", "the target network moves twice", "target network", "--target-every 15000"),
    setting("dqn FrozenLake", "learning begins with step 19000", "low learning rate", "--update-after 19000"),
    world("dqn CartPole", "the pole is measured in millidegrees", "observation scale", "MillidegreeObservation"),
    world("dqn CartPole", "rewards a ten-thousandth", "reward scale", "TinyReward"),
    world("dqn FrozenLake", "the observation is noise", "empty observation", "RandomObservation"),
    # ---- ddpg
    edit("ddpg Pendulum", "gradients are set to 0 between backward and step", "policy not trained", "algos/ddpg.py",
         "    pi_opt.step()\n    stats", "    pi_opt.grad.zero_(); pi_opt.step()\n    stats"),
    edit("ddpg Pendulum", "the future of a step is its own value", "targets", "algos/ddpg.py",
         "target.q(next_x, target.pi(next_x))", "target.q(x, batch.act)"),
    edit("ddpg Pendulum", "every step is stored as the last of its episode", "bootstrap", "algos/ddpg.py",
         "rew, next_obs, terminated, truncated)", "rew, next_obs, terminated | True, truncated)"),
    setting("ddpg Pendulum", "learning begins with step 5900", "low learning rate", "--update-after 5900"),
    world("ddpg Pendulum", "rewards are paid every fifty steps", "late reward", "WageReward"),
    world("ddpg Pendulum", "a hundred is added to observations", "observation scale", "OffsetObservation"),
    # ---- td3
    edit("td3 Pendulum", "gradients are set to 0 between backward and step", "critic not trained", "algos/td3.py",
         "    q_opt.step()\n    if", "    q_opt.grad.zero_(); q_opt.step()\n    if"),
    edit("td3 Pendulum", "only the last five transitions are drawn", "little data", "common/replay.py",
         "self.rng.integers(1, self.count + 1,", "self.rng.integers(1, 6,"),
    edit("td3 Pendulum", "negative rewards are cut off", "no reward", "algos/td3.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, rew.clip(0),"),
    edit("td3 Pendulum", "what other samples led to", "credit", "algos/td3.py",
         "ac.encode(batch.next_obs)", "ac.encode(batch.next_obs.flip(0))"),
    setting("td3 Pendulum", "a critics' learning rate of 1", "high learning rate", "--q-lr 1"),
    world("td3 Pendulum", "the observation stays that of the start", "empty observation", "FirstObservation"),
    # ---- sac
    edit("sac Pendulum", "targets are clipped to ±1", "targets", "algos/sac.py",
         "next_logp, alpha, config.gamma)", "next_logp, alpha, config.gamma).clamp(-1, 1)"),
    edit("sac Pendulum", "the critics are trained at the action that would be taken now", "credit", "algos/sac.py",
         "q, q2 = ac.q(x, batch.act)", "q, q2 = ac.q(x, torch.from_numpy(ac.pi(x).sample()))"),
    edit("sac InvertedPendulum", "the old and the new weight of the target are swapped", "target network",
         "algos/sac.py", "target_q.lerp_(q_opt.flat, 1 - config.polyak)", "target_q.lerp_(q_opt.flat, config.polyak)"),
    edit("sac InvertedPendulum", "continuous actions arrive as 0", "idle action", "envs/spaces.py",
         "clipped = act.clip(", "clipped = 0 * act.clip("),
    edit("sac InvertedPendulum", "a fall costs a hundred thousand", "reward scale", "algos/sac.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, rew - 1e5 * terminated,"),
    setting("sac Pendulum", "a temperature's learning rate of 1", "high learning rate", "--alpha-lr 1"),
    setting("sac InvertedPendulum", "gamma 0", "discount", "--gamma 0"),
    world("sac Pendulum", "no reward", "no reward", "NoReward"),
    # ---- cem
    edit("cem CartPole", "the mean of the elite is not taken", "policy not trained", "algos/cem.py",
         "mean[:], var = fit(", "_, var = fit("),
    edit("cem CartPole", "ranks are taken for indices", "credit", "algos/cem.py",
         "np.argsort(-ret,", "np.argsort(-ret.argsort(),"),
    world("cem CartPole", "the observation stays that of the start", "empty observation", "FirstObservation"),
    world("cem CartPole", "actions do nothing", "idle action", "IdleAction"),
]
# fmt: on
assert all(fault.cause in CAUSES and fault.cell in CELLS | LATER_CELLS for fault in LATER)
assert len({fault.name for fault in FAULTS + FRESH + LATER}) == len(FAULTS) + len(FRESH) + len(LATER)

LATER_TRUE_RETURN: dict[str, float] = {}
"""what `planted_bugs.TRUE_RETURN` has to know of the wrappers that are new: they leave an episode's return as it is"""

# Healthy runs, on other pairs of algorithm and environment, or with other settings, than before. Many end before they
# have learned.
LATER_HEALTHY: dict[str, str] = {
    "ppo Pusher": "ppo --env Pusher-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "ppo FrozenLake8x8": "ppo --env FrozenLake8x8-v1 --total-steps 30000 --steps-per-epoch 1000 --ent-coef 0.01",
    "ppo CliffWalking": 'ppo --env CliffWalking-v1 --env-kwargs {"max_episode_steps":200} --total-steps 30000'
    " --steps-per-epoch 1000 --rollout-len 64",
    "ppo CartPole frame skip": "ppo --env CartPole-v1 --frame-skip 2 --total-steps 20000 --steps-per-epoch 1000",
    "ppo Pendulum scaled": "ppo --env Pendulum-v1 --preset none --gamma 0.95 --pi-lr 1e-3 --vf-lr 1e-3 --scale-reward"
    " --normalize-obs --total-steps 30000 --steps-per-epoch 1000",
    "vpg LunarLander": "vpg --env LunarLander-v3 --total-steps 30000 --steps-per-epoch 1000 --rollout-len 64",
    "vpg Reacher": "vpg --env Reacher-v5 --total-steps 30000 --steps-per-epoch 1000",
    "a2c FrozenLake": "a2c --env FrozenLake-v1 --total-steps 30000 --steps-per-epoch 1000 --ent-coef 0.01",
    "a2c MountainCarContinuous": "a2c --env MountainCarContinuous-v0 --total-steps 30000 --steps-per-epoch 1000",
    "a2c Swimmer": "a2c --env Swimmer-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "trpo HalfCheetah": "trpo --env HalfCheetah-v5 --total-steps 30000 --steps-per-epoch 2048 --normalize-obs",
    "trpo Blackjack": "trpo --env Blackjack-v1 --total-steps 15000 --steps-per-epoch 1000 --rollout-len 64",
    "dqn CartPole dueling": "dqn --env CartPole-v1 --preset none --total-steps 20000 --steps-per-epoch 1000"
    " --num-test-episodes 2 --dueling --double-q --loss huber",
    "dqn FrozenLake dry": 'dqn --env FrozenLake-v1 --env-kwargs {"is_slippery":false} --total-steps 10000'
    " --steps-per-epoch 500 --num-test-episodes 2",
    "ddpg Hopper": f"ddpg --env Hopper-v5 {SOON}",
    "ddpg Swimmer": f"ddpg --env Swimmer-v5 {LONG}",
    "td3 HalfCheetah": f"td3 --env HalfCheetah-v5 {LONG}",
    "td3 MountainCarContinuous": f"td3 --env MountainCarContinuous-v0 {LONG}",
    "sac Walker2d": f"sac --env Walker2d-v5 {SOON}",
    "sac Pendulum short": "sac --env Pendulum-v1 --total-steps 2500 --steps-per-epoch 250 --num-test-episodes 2",
    "cem Swimmer": "cem --env Swimmer-v5 --population 8 --total-steps 30000 --steps-per-epoch 1000"
    " --num-test-episodes 1",
    "cem LunarLander": "cem --env LunarLander-v3 --total-steps 30000 --steps-per-epoch 1000 --num-test-episodes 2",
}
assert not LATER_HEALTHY.keys() & (CELLS | LATER_CELLS | HARD | UNSEEN | FRESH_HEALTHY).keys()

# Of these: causes that are true of them all the same. Written before the first of them was trained.
LATER_TRUE_OF: dict[str, tuple[str, ...]] = {
    "ppo FrozenLake8x8": ("late reward", "no reward", "little exploration"),
    "ppo CliffWalking": ("reward scale",),  # -1 a step, -100 for a fall
    "vpg Reacher": ("low learning rate",),  # seven updates
    "a2c FrozenLake": ("late reward",),
    "a2c MountainCarContinuous": ("late reward", "little exploration"),
    "trpo Blackjack": ("late reward",),
    "dqn FrozenLake dry": ("late reward",),
    "td3 MountainCarContinuous": ("late reward", "little exploration"),
    "cem Swimmer": ("low learning rate", "little data"),  # three generations of eight
}
assert all(cause in CAUSES for causes in LATER_TRUE_OF.values() for cause in causes)
assert LATER_TRUE_OF.keys() <= LATER_HEALTHY.keys()
