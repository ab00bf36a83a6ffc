"""A fifth set of faults and of healthy runs, on which the diagnosis is judged once more.

It was written by someone who had not read the rules, their thresholds, the likeness, or anything that came of them. It
knew the causes, the faults of the four sets before, and the text that it plants faults in. The trainings that faults
are planted in are the `CELLS` of `planted_faults.py` and the `LATER_CELLS` of `planted_later.py`. No rule was shown one
of these runs before it was judged.
"""

import math

from planted_faults import CELLS, FAULTS, HARD, SOON, UNSEEN, Fault, edit, setting, world
from planted_fresh import FRESH, FRESH_HEALTHY
from planted_last import LAST, LAST_HEALTHY
from planted_later import LATER, LATER_CELLS, LATER_HEALTHY

from rlsuite.analysis.causes import CAUSES

# fmt: off
FIFTH: list[Fault] = [
    # ---- ppo
    edit("ppo CartPole", "the policy's loss is left out of the sum", "policy not trained", "algos/ppo.py",
         "(loss_pi + loss_kl - bonus + loss_v).backward()", "(loss_kl - bonus + loss_v).backward()"),
    edit("ppo CartPole", "the ends of episodes are those of the neighbouring environment", "bootstrap",
         "common/buffer.py", "next_val * ~terminated - val", "next_val * ~np.roll(terminated, 1, 1) - val"),
    setting("ppo FrozenLake", "a learning rate of 1", "high learning rate", "--pi-lr 1 --target-kl inf"),
    setting("ppo InvertedPendulum", "sigma grows with the entropy bonus", "endless exploration", "--ent-coef 30"),
    world("ppo FrozenLake", "what is underfoot is observed, and not where", "empty observation", "TileObservation"),
    world("ppo InvertedPendulum", "what an episode earns is paid at the start of the next", "late reward",
          "AfterReward"),
    # ---- vpg
    edit("vpg CartPole", "scaled rewards lose their sign to a minus", "sign", "common/normalize.py",
         "return (rew / np.sqrt(", "return (-rew / np.sqrt(", "--scale-reward"),
    edit("vpg CartPole", "the weights from before are put back after each step", "policy not trained", "algos/vpg.py",
         "pi_opt.step()  # one only",
         "kept = pi_opt.flat.clone(); pi_opt.step(); pi_opt.flat.copy_(kept)  # one only"),
    edit("vpg CartPole", "the log-probability of the likeliest action, whichever was taken", "credit", "algos/vpg.py",
         "pi.log_prob(batch.act)", "pi.log_prob(pi.logits.argmax(-1))"),
    edit("vpg CartPole", "rollouts are drawn from a memory of all, as if it were off-policy", "old policy",
         "algos/vpg.py", "x, val, next_val, pi = evaluate_rollout(ac, buf)",
         "past = vars(training).setdefault('past', []); past.append(buf); "
         "buf = past[int(torch.randint(len(past), ()))]; x, val, next_val, pi = evaluate_rollout(ac, buf)"),
    edit("vpg CartPole", "Adam's epsilon has lost the minus of its exponent", "low learning rate", "common/optim.py",
         "self.v.sqrt().add_(1e-8 * root)", "self.v.sqrt().add_(1e8 * root)"),
    edit("vpg CartPole", "the list of actions is read at its beginning, not its end", "idle action",
         "envs/stepping.py", "zip(self.envs, actions.tolist() if self.discrete else actions,",
         "zip(self.envs, self.actions[0].tolist() if self.discrete else self.actions[0],"),
    # ---- a2c
    edit("a2c CartPole steady", "log-probabilities are cross-entropies, without their minus", "sign",
         "common/distributions.py", "return -nn.functional.cross_entropy(self.logits, act",
         "return nn.functional.cross_entropy(self.logits, act"),
    edit("a2c CartPole steady", "the policy is evaluated at observations of the environment beside", "credit",
         "common/buffer.py", "next_val.reshape(buf.rew.shape), ac.pi(x)",
         "next_val.reshape(buf.rew.shape), ac.pi(x.roll(1, 0))"),
    edit("a2c CartPole steady", "the end of an episode is taken for a rest that pays 1 for ever", "bootstrap",
         "common/buffer.py", "next_val * ~terminated - val",
         "np.where(terminated, np.float32(1 / (1 - gamma)), next_val) - val"),
    setting("a2c CartPole steady", "learning rates of 1e-8", "low learning rate", "--pi-lr 1e-8 --vf-lr 1e-8"),
    world("a2c CartPole steady", "observations in a unit ten thousand times too large", "observation scale",
          "TinyObservation"),
    # ---- trpo
    edit("trpo CartPole", "advantages in the reverse order of time", "credit", "common/buffer.py",
         "), adv.reshape(-1)", "), adv[::-1].copy().reshape(-1)"),
    edit("trpo CartPole", "scaled rewards are clipped to a millionth", "reward scale", "common/normalize.py",
         ".clip(-10, 10)", ".clip(-1e-6, 1e-6)", "--scale-reward"),
    edit("trpo CartPole", "rewards are halved in whole numbers", "no reward", "algos/trpo.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, rew // 2,"),
    setting("trpo CartPole", "gamma 0.2", "discount", "--gamma 0.2"),
    world("trpo CartPole", "components of the observation in a new order at each step", "empty observation",
          "ShuffledObservation"),
    # ---- dqn
    edit("dqn FrozenLake", "each reward is joined to the step after", "credit", "common/replay.py",
         "for ring in (self.obs, self.act, self.rew, self.terminated)",
         "for ring in (self.obs, self.act, np.roll(self.rew, 1), self.terminated)"),
    edit("dqn CartPole", "the values of all next actions are added up", "targets", "algos/dqn.py",
         "~terminated * value_of(next_q, next_act)", "~terminated * next_q.sum(1)"),
    edit("dqn CartPole", "one plus the end of the episode, where it should be one minus", "bootstrap", "algos/dqn.py",
         "gamma * ~terminated * value_of", "gamma * (1 + terminated.float()) * value_of"),
    edit("dqn Acrobot", "only the first thousand transitions are ever drawn", "little data", "common/replay.py",
         "self.rng.integers(1, self.count + 1,", "self.rng.integers(max(1, self.count - 999), self.count + 1,"),
    setting("dqn CartPole", "the target moves by a thousandth, once in five hundred steps", "target network",
            "--polyak 0.999"),
    setting("dqn CartPole", "gamma 0.2", "discount", "--gamma 0.2"),
    setting("dqn Acrobot", "a learning rate of 0.3", "high learning rate", "--q-lr 0.3"),
    world("dqn Acrobot", "speeds are measured in degrees per hour", "observation scale", "HourlyObservation"),
    # ---- ddpg
    edit("ddpg Pendulum", "the critic moves to other memory than its optimiser knows", "critic not trained",
         "algos/ddpg.py", "flatten(target.pi), flatten(target.q)",
         "flatten(target.pi), flatten(target.q); flatten(ac.q)"),
    edit("ddpg Pendulum", "targets below 0 are raised to 0", "targets", "algos/ddpg.py",
         "next_q, config.gamma)", "next_q, config.gamma).clamp_min(0)"),
    edit("ddpg Pendulum", "a batch is one transition, a hundred times", "little data", "common/replay.py",
         "self.rng.integers(1, self.count + 1, mpi.share(batch_size))",
         "np.full(mpi.share(batch_size), self.rng.integers(1, self.count + 1))"),
    world("ddpg Pendulum", "costs are paid as their exponential", "reward scale", "ExponentialReward"),
    world("ddpg Pendulum", "the motor takes one command in a hundred, and rests between", "idle action",
          "RestingAction"),
    # ---- td3
    edit("td3 Pendulum", "the policy waits for a step of its own before it takes one", "policy not trained",
         "algos/td3.py", "if q_opt.steps % config.policy_delay == 0:\n        # The",
         "if pi_opt.steps % config.policy_delay == 1:\n        # The"),
    edit("td3 Pendulum", "the critic that the policy climbs has no loss", "critic not trained", "algos/td3.py",
         "(loss_q + loss_q2).backward()", "loss_q2.backward()"),
    edit("td3 Pendulum", "the target critics move away from the critics", "target network", "algos/td3.py",
         "target_q.lerp_(q_opt.flat, 1 - config.polyak)", "target_q.lerp_(q_opt.flat, config.polyak - 1)"),
    world("td3 Pendulum", "only a perfect stand is paid", "no reward", "PerfectReward"),
    world("td3 Pendulum", "each reward is late by chance, up to a whole episode", "late reward", "StrayReward"),
    # ---- sac
    edit("sac Pendulum", "no gradient reaches the mean of the policy", "policy not trained",
         "common/soft_actor_critic.py", "SquashedGaussian(mu, log_std.clamp(",
         "SquashedGaussian(mu.detach(), log_std.clamp("),
    edit("sac Pendulum", "the share of the new is added to a target that keeps all of the old", "target network",
         "algos/sac.py", "target_q.lerp_(q_opt.flat, 1 - config.polyak)",
         "target_q.add_(q_opt.flat, alpha=1 - config.polyak)"),
    edit("sac InvertedPendulum", "the largest ln σ is that of hardly any", "little exploration",
         "common/soft_actor_critic.py", "MAX_LOG_STD = -20.0, 2.0", "MAX_LOG_STD = -20.0, -19.0"),
    setting("sac InvertedPendulum", "an update every thousand steps", "low learning rate", "--update-every 1000"),
    world("sac Pendulum", "the sine of the angle is not observed", "empty observation", "SinelessObservation"),
    # ---- cem
    edit("cem CartPole", "rewards are subtracted from a candidate's sum", "sign", "algos/cem.py",
         "self.total[self.turn] += rew", "self.total[self.turn] -= rew"),
    edit("cem CartPole", "all play the first candidate, each on its own account", "credit", "algos/cem.py",
         "torch.from_numpy(self.theta[self.taken])", "torch.from_numpy(self.theta[0])"),
    edit("cem CartPole", "all candidates of a generation have the same noise", "little exploration", "algos/cem.py",
         "rng.standard_normal(self.theta.shape, np.float32)", "rng.standard_normal(self.theta.shape[1:], np.float32)"),
    world("cem CartPole", "the cart's place is measured from ten thousand away", "observation scale",
          "FarObservation"),
    world("cem CartPole", "one action in a hundred is carried out", "idle action", "RestingAction"),
]
# fmt: on
assert all(fault.cause in CAUSES and fault.cell in CELLS | LATER_CELLS for fault in FIFTH)
assert len({fault.name for fault in FAULTS + FRESH + LATER + LAST + FIFTH}) == sum(
    map(len, (FAULTS, FRESH, LATER, LAST, FIFTH))
)

FIFTH_TRUE_RETURN = {"ExponentialReward": math.nan, "PerfectReward": math.nan}
"""what `planted_bugs.TRUE_RETURN` has to know of the wrappers that are new"""

# Healthy runs, on other pairs of algorithm and environment, or with other settings, than before. Many end before they
# have learned.
FIFTH_HEALTHY: dict[str, str] = {
    "ppo Humanoid": "ppo --env Humanoid-v5 --total-steps 20000 --steps-per-epoch 1000 --normalize-obs",
    "ppo LongChain": "ppo --env rlsuite/LongChain-v0 --total-steps 20000 --steps-per-epoch 1000 --rollout-len 64",
    "ppo CliffWalkingSlippery": 'ppo --env CliffWalkingSlippery-v1 --env-kwargs {"max_episode_steps":200}'
    " --total-steps 30000 --steps-per-epoch 1000 --rollout-len 64",
    "ppo CartPole alone": "ppo --env CartPole-v1 --preset none --total-steps 30000 --steps-per-epoch 1024 --num-envs 1"
    " --activation relu --vf-lr 1e-3 --pi-lr 1e-3",
    "vpg HalfCheetah": "vpg --env HalfCheetah-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "vpg Taxi": "vpg --env Taxi-v4 --total-steps 30000 --steps-per-epoch 1000 --rollout-len 64",
    "vpg CartPole crowd": "vpg --env CartPole-v1 --preset none --total-steps 20000 --steps-per-epoch 1024 --num-envs 64"
    " --rollout-len 16",
    "a2c Walker2d": "a2c --env Walker2d-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "a2c Context": "a2c --env rlsuite/Context-v0 --total-steps 10000 --steps-per-epoch 500",
    "a2c Blackjack": "a2c --env Blackjack-v1 --total-steps 15000 --steps-per-epoch 1000 --rollout-len 16",
    "trpo Swimmer": "trpo --env Swimmer-v5 --total-steps 30000 --steps-per-epoch 2048",
    "trpo BipedalWalker": "trpo --env BipedalWalker-v3 --total-steps 30000 --steps-per-epoch 1024 --rollout-len 128"
    " --scale-reward",
    "trpo Switches": "trpo --env rlsuite/Switches-v0 --total-steps 10000 --steps-per-epoch 512 --rollout-len 32",
    "dqn Bandit": "dqn --env rlsuite/Bandit-v0 --total-steps 5000 --steps-per-epoch 250 --num-test-episodes 5",
    "dqn CartPole tanh": "dqn --env CartPole-v1 --preset none --total-steps 20000 --steps-per-epoch 1000"
    " --num-test-episodes 2 --activation tanh --batch-size 128 --update-every 2 --lr-schedule linear",
    "cem Reacher": "cem --env Reacher-v5 --total-steps 30000 --steps-per-epoch 1000 --num-test-episodes 2",
    "cem InvertedDoublePendulum": "cem --env InvertedDoublePendulum-v5 --total-steps 30000 --steps-per-epoch 1000"
    " --num-test-episodes 2",
    "ddpg InvertedDoublePendulum": f"ddpg --env InvertedDoublePendulum-v5 {SOON}",
    "td3 LunarLander": f'td3 --env LunarLander-v3 --env-kwargs {{"continuous":true}} {SOON}',
    "sac Pusher": f"sac --env Pusher-v5 {SOON}",
}
assert (
    not FIFTH_HEALTHY.keys()
    & (CELLS | LATER_CELLS | HARD | UNSEEN | FRESH_HEALTHY | LATER_HEALTHY | LAST_HEALTHY).keys()
)

# Of these: causes that are true of them all the same. Written before the first of them was trained.
FIFTH_TRUE_OF: dict[str, tuple[str, ...]] = {
    # Ten updates; 43 of 348 components do not vary in random play, and the others differ by a factor of 100,000.
    "ppo Humanoid": ("low learning rate", "empty observation", "observation scale"),
    "ppo LongChain": ("late reward", "no reward", "little exploration"),
    "ppo CliffWalkingSlippery": ("reward scale", "little exploration"),  # -100 for a fall: it stays away from the edge
    "vpg HalfCheetah": ("low learning rate",),  # seven updates
    # -10 for what is not allowed: it learns to leave passengers alone before it has brought one to where 20 are paid.
    "vpg Taxi": ("late reward", "reward scale", "little exploration"),
    "vpg CartPole crowd": ("low learning rate",),  # twenty steps of the policy
    "a2c Blackjack": ("late reward",),
    "trpo Swimmer": ("low learning rate", "discount"),  # fifteen updates; strokes pay over hundreds of steps
    "trpo BipedalWalker": ("reward scale",),  # -100 for a fall, though scaled
    "dqn Bandit": ("empty observation",),  # it is always the same
    "cem Reacher": ("little data",),  # one episode a candidate, of which most depends on where the target is
    "cem InvertedDoublePendulum": ("empty observation",),  # a force that is 0 except where the rail ends
    "ddpg InvertedDoublePendulum": ("empty observation",),
    "td3 LunarLander": ("reward scale",),  # ±100 at the end
    "sac Pusher": ("empty observation",),  # the goal never moves
}
assert all(cause in CAUSES for causes in FIFTH_TRUE_OF.values() for cause in causes)
assert FIFTH_TRUE_OF.keys() <= FIFTH_HEALTHY.keys()
