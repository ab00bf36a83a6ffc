"""A second set of faults and of healthy runs, on which the diagnosis is judged once more.

It was written by someone who had not read the rules, their thresholds, or anything that came of them, before the rules
were changed for the second time. It knew the causes, the faults of `planted_faults.py`, and the text that it plants
faults in. The format is that of `planted_faults.py`; the trainings that faults are planted in are its `CELLS`. No rule
was shown one of these runs before it was judged.
"""

import math

from planted_faults import CELLS, FAULTS, HARD, LONG, SOON, UNSEEN, Fault, edit, setting, world

from rlsuite.analysis.causes import CAUSES

# fmt: off
FRESH: list[Fault] = [
    # ---- ppo
    edit("ppo CartPole", "it stops while the KL is small", "low learning rate", "algos/ppo.py",
         "batch.x) > config.target_kl", "batch.x) < config.target_kl"),
    edit("ppo CartPole", "the actions of other samples", "credit", "algos/ppo.py",
         "pi.log_prob(batch.act[j])", "pi.log_prob(batch.act[: len(j)])"),
    edit("ppo InvertedPendulum", "the action that is stored is another draw", "credit", "algos/ppo.py",
         "buf.store(obs, act, rew,", "buf.store(obs, ac.act(obs), rew,"),
    edit("ppo InvertedPendulum", "it acts with five times the sigma that it computes with", "old policy",
         "common/distributions.py", "return torch.randn_like(self.mu).mul_(self.log_std.exp())",
         "return torch.randn_like(self.mu).mul_(5 * self.log_std.exp())"),
    edit("ppo FrozenLake", "all states are encoded as the same one", "empty observation", "common/normalize.py",
         "one_hot(x.to(self.mean.device).long() - self.start,", "one_hot(0 * x.to(self.mean.device).long(),"),
    setting("ppo InvertedPendulum", "gradients are clipped to almost nothing", "low learning rate",
            "--max-grad-norm 1e-9"),
    world("ppo CartPole", "the pole is not observed", "empty observation", "PolelessObservation"),
    world("ppo CartPole", "a hundred is added to observations", "observation scale", "OffsetObservation"),
    world("ppo InvertedPendulum", "actions arrive a thousandth as large", "idle action", "WeakAction"),
    # ---- vpg
    edit("vpg CartPole", "advantages are taken from their mean, not the mean from them", "sign", "common/buffer.py",
         "(adv - everywhere.mean()) /", "(everywhere.mean() - adv) /"),
    edit("vpg CartPole", "Adam divides by the mean square, not its root", "high learning rate", "common/optim.py",
         "self.v.sqrt().add_(1e-8 * root)", "self.v.add(1e-8 * root)"),
    edit("vpg CartPole", "the end of an episode is marked one step late", "bootstrap", "common/buffer.py",
         "next_val * ~terminated - val", "next_val * ~np.roll(terminated, 1, 0) - val"),
    edit("vpg CartPole", "observations are divided by 255, as if they were images", "observation scale",
         "common/normalize.py",
         "1 / 255 if obs_space.dtype == np.uint8 and len(obs_space.shape or ()) > 1 else 1.0", "1 / 255"),
    edit("vpg CartPole", "the policy takes two hundred steps on each rollout", "old policy", "algos/vpg.py",
         "pi_opt.step()  # one only", "pi_opt.step(); [(policy_loss(ac.pi(batch.x).log_prob(batch.act), adv)"
         ".backward(), pi_opt.step()) for _ in range(200)]  # one only"),
    setting("vpg CartPole", "six updates in all", "low learning rate", "--rollout-len 625"),
    # ---- a2c
    edit("a2c CartPole", "the policy's loss is broadcast (B, 1) with (B,)", "credit", "algos/a2c.py",
         "return -(logp * adv).mean()", "return -(logp[:, None] * adv).mean()"),
    edit("a2c CartPole", "RMSprop climbs the losses", "sign", "common/optim.py",
         "add_(1e-5), value=-self.lr)", "add_(1e-5), value=self.lr)"),
    edit("a2c CartPole", "the environment is given the first action, whichever was chosen", "idle action",
         "envs/spaces.py", "(act + act_space.start if act_space.start else act), 0", "0 * act, 0"),
    setting("a2c CartPole", "rollouts of one step of one environment", "little data", "--num-envs 1 --rollout-len 1"),
    setting("a2c CartPole", "an entropy bonus above all rewards", "endless exploration", "--ent-coef 1000"),
    world("a2c CartPole", "rewards ten thousand times too large", "reward scale", "HugeReward"),
    # ---- trpo
    edit("trpo CartPole", "the line search does not write its steps into the parameters", "policy not trained",
         "algos/trpo.py", "alpha=share, out=flat)", "alpha=share)"),
    edit("trpo CartPole", "terminated and truncated are swapped", "bootstrap", "common/buffer.py",
         "self.truncated[t] = terminated, truncated", "self.truncated[t] = truncated, terminated"),
    edit("trpo CartPole", "observations are cut to whole numbers", "empty observation", "common/normalize.py",
         ".to(self.mean)  # its", ".long().to(self.mean)  # its"),
    setting("trpo CartPole", "a critic's learning rate of 10", "high learning rate", "--vf-lr 10"),
    # ---- dqn
    edit("dqn Acrobot", "the falling learning rate falls from what it last was", "low learning rate",
         "common/training.py", "opt.lr = opt.base_lr * self.share_left", "opt.lr *= self.share_left"),
    edit("dqn CartPole", "the target is copied over the network", "target network", "algos/dqn.py",
         "target_flat.lerp_(q_opt.flat,", "q_opt.flat.lerp_(target_flat,"),
    edit("dqn CartPole", "the largest value is trained, whichever action was taken", "credit", "algos/dqn.py",
         "q = value_of(q_net.q(x), batch.act)", "q = q_net.q(x).amax(1)"),
    edit("dqn Acrobot", "rewards are taken for costs", "sign", "algos/dqn.py",
         "return rew + gamma * ~terminated", "return -rew + gamma * ~terminated"),
    edit("dqn Acrobot", "the optimiser holds a copy of the network", "critic not trained", "algos/dqn.py",
         'Adam("Q", q_net.q,', 'Adam("Q", copy.deepcopy(q_net.q),'),
    edit("dqn FrozenLake", "the random action is always the first", "little exploration", "algos/dqn.py",
         "rng.integers(q.shape[1])", "rng.integers(1)"),
    edit("dqn Acrobot", "it discounts by 1 - gamma", "discount", "algos/dqn.py",
         "next_act, config.gamma)", "next_act, 1 - config.gamma)"),
    world("dqn Acrobot", "rewards come a hundred steps late", "late reward", "DelayedReward"),
    # ---- ddpg
    edit("ddpg Pendulum", "the action is stored without its noise", "credit", "algos/ddpg.py",
         "buf.store(obs, act, rew,", "buf.store(obs, ac.mode(obs), rew,"),
    edit("ddpg Pendulum", "the future is subtracted", "targets", "algos/ddpg.py",
         "return rew + gamma *", "return rew - gamma *"),
    world("ddpg Pendulum", "the angle is not observed", "empty observation", "AnglelessObservation"),
    world("ddpg Pendulum", "of rewards only the sign", "no reward", "SignReward"),
    # ---- td3
    edit("td3 Pendulum", "the target policy never moves", "target network", "algos/td3.py",
         "target_pi.lerp_(pi_opt.flat,", "target_pi.lerp_(target_pi,"),
    edit("td3 Pendulum", "only a terminated state has a future", "bootstrap", "algos/td3.py",
         "gamma * ~terminated * next_q", "gamma * terminated * next_q"),
    setting("td3 Pendulum", "batches of one transition", "little data", "--batch-size 1"),
    setting("td3 Pendulum", "gamma 0.3", "discount", "--gamma 0.3"),
    world("td3 Pendulum", "rewards a ten-thousandth", "reward scale", "TinyReward"),
    # ---- sac
    edit("sac Pendulum", "the policy climbs the values of other states", "credit", "algos/sac.py",
         "ac.q(x, act), alpha)", "ac.q(x.flip(0), act), alpha)"),
    edit("sac Pendulum", "the critics' gradient does not flow through the action", "policy not trained",
         "algos/sac.py", "ac.q(x, act), alpha)", "ac.q(x, act.detach()), alpha)"),
    edit("sac Pendulum", "the critics are added up", "targets", "algos/sac.py",
         "(next_q.amin(0) - alpha * next_logp)", "(next_q.sum(0) - alpha * next_logp)"),
    edit("sac InvertedPendulum", "the second critic has no loss", "critic not trained", "algos/sac.py",
         "(loss_q + loss_q2).backward()", "loss_q.backward()"),
    setting("sac Pendulum", "a temperature above all rewards", "endless exploration", "--alpha 1000 --alpha-lr 0"),
    world("sac Pendulum", "rewards come a hundred steps late", "late reward", "DelayedReward"),
    # ---- cem
    edit("cem CartPole", "the mean is not copied into the policy", "policy not trained", "algos/cem.py",
         "flat.copy_(torch.from_numpy(mean))", "pass"),
    edit("cem CartPole", "each candidate is credited with the rewards of all", "credit", "algos/cem.py",
         "self.total[self.turn] += rew", "self.total += rew.sum()"),
    setting("cem CartPole", "the candidates hardly differ", "little exploration", "--std-init 1e-8 --noise-init 0"),
    world("cem CartPole", "observations a ten-thousandth", "observation scale", "TinyObservation"),
]
# fmt: on
assert all(fault.cause in CAUSES and fault.cell in CELLS for fault in FRESH)
assert len({fault.name for fault in FAULTS + FRESH}) == len(FAULTS) + len(FRESH)

FRESH_TRUE_RETURN = {"SignReward": math.nan}
"""what `planted_bugs.TRUE_RETURN` has to know of the wrappers that are new"""

# Healthy runs, on other pairs of algorithm and environment than before: defaults of the algorithm, presets cut short,
# or the settings of the cells. Many end before they have learned.
FRESH_HEALTHY: dict[str, str] = {
    "ppo Swimmer": "ppo --env Swimmer-v5 --total-steps 30000 --steps-per-epoch 1000",
    "ppo Walker2d": "ppo --env Walker2d-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "ppo BipedalWalker": "ppo --env BipedalWalker-v3 --total-steps 20000 --steps-per-epoch 1000",
    "ppo Blackjack": "ppo --env Blackjack-v1 --total-steps 15000 --steps-per-epoch 1000 --rollout-len 64",
    "ppo Taxi": "ppo --env Taxi-v4 --total-steps 30000 --steps-per-epoch 1000 --ent-coef 0.01",
    "vpg Pendulum": "vpg --env Pendulum-v1 --total-steps 30000 --steps-per-epoch 1000",
    "vpg FrozenLake": "vpg --env FrozenLake-v1 --total-steps 30000 --steps-per-epoch 1000 --rollout-len 64",
    "vpg MountainCar": "vpg --env MountainCar-v0 --total-steps 30000 --steps-per-epoch 1000",
    "a2c InvertedPendulum": "a2c --env InvertedPendulum-v5 --total-steps 30000 --steps-per-epoch 1000",
    "a2c LunarLander": "a2c --env LunarLander-v3 --total-steps 25000 --steps-per-epoch 1000",
    "trpo Hopper": "trpo --env Hopper-v5 --total-steps 30000 --steps-per-epoch 2048",
    "trpo LunarLander": "trpo --env LunarLander-v3 --total-steps 30000 --steps-per-epoch 1024",
    "trpo FrozenLake": "trpo --env FrozenLake-v1 --total-steps 30000 --steps-per-epoch 2048",
    "dqn CliffWalking": 'dqn --env CliffWalking-v1 --env-kwargs {"max_episode_steps":200} --total-steps 15000'
    " --steps-per-epoch 1000 --num-test-episodes 2",
    "dqn FrozenLake8x8": "dqn --env FrozenLake8x8-v1 --total-steps 15000 --steps-per-epoch 1000 --num-test-episodes 2",
    "ddpg HalfCheetah": f"ddpg --env HalfCheetah-v5 {LONG}",
    "ddpg MountainCarContinuous": "ddpg --env MountainCarContinuous-v0 --total-steps 6000 --steps-per-epoch 1000"
    " --num-test-episodes 2",
    "td3 Reacher": f"td3 --env Reacher-v5 {SOON}",
    "sac InvertedDoublePendulum": f"sac --env InvertedDoublePendulum-v5 {SOON}",
    "sac LunarLander": f'sac --env LunarLander-v3 --env-kwargs {{"continuous":true}} {SOON}',
    "cem InvertedPendulum": "cem --env InvertedPendulum-v5 --total-steps 30000 --steps-per-epoch 1000",
    "cem MountainCar": "cem --env MountainCar-v0 --total-steps 30000 --steps-per-epoch 1000",
}
assert not FRESH_HEALTHY.keys() & (CELLS.keys() | HARD.keys() | UNSEEN.keys())

# Of these: causes that are true of them all the same. Written before the first of them was trained.
FRESH_TRUE_OF: dict[str, tuple[str, ...]] = {
    "ppo Blackjack": ("late reward",),
    "vpg Pendulum": ("low learning rate",),  # seven updates
    "vpg FrozenLake": ("late reward",),
    "vpg MountainCar": ("late reward", "no reward", "little exploration", "low learning rate"),
    "trpo FrozenLake": ("late reward",),
    "dqn CliffWalking": ("reward scale",),  # -1 a step, -100 for a fall
    "dqn FrozenLake8x8": ("late reward", "no reward", "little exploration"),
    "ddpg MountainCarContinuous": ("late reward", "little exploration"),
    "cem MountainCar": ("late reward", "no reward", "little exploration"),
}
assert all(cause in CAUSES for causes in FRESH_TRUE_OF.values() for cause in causes)
assert FRESH_TRUE_OF.keys() <= FRESH_HEALTHY.keys()
