/**
 * Policy gradients (REINFORCE): a pole is balanced on a cart. Every rank plays its own episodes, long ones and short ones; each step of the optimizer averages what all ranks have learnt.
 *
 *   npx tsrun -np 2 examples/policy_gradient.ts [--updates 40]
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import * as hvd from 'khorovod';

/** Position, speed, angle (0 is upright) and angular speed. */
type State = [number, number, number, number];
const MOST_STEPS = 200;
const EPISODES = 8;
const DISCOUNT = 0.98;

let seed = 1;
const random = (from: number, to: number) => from + ((to - from) * (seed = (seed * 48_271) % 2_147_483_647)) / 2_147_483_647;
const start = (): State => [random(-0.05, 0.05), random(-0.05, 0.05), random(-0.05, 0.05), random(-0.05, 0.05)];

/** Cart and pole after 20 ms of a push to the left (0) or right (1): Barto, Sutton and Anderson, 1983. */
function push([x, v, angle, w]: State, action: number): State {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  const inertia = ((action === 1 ? 10 : -10) + 0.05 * w * w * sin) / 1.1;
  const turn = (9.8 * sin - cos * inertia) / (0.5 * (4 / 3 - (0.1 * cos * cos) / 1.1));
  const go = inertia - (0.05 * turn * cos) / 1.1;
  return [x + 0.02 * v, v + 0.02 * go, angle + 0.02 * w, w + 0.02 * turn];
}

/** Plays until the pole falls, the cart leaves the track, or the time is over. */
function play(choose: (state: State) => number): { states: State[]; actions: number[] } {
  const [states, actions]: [State[], number[]] = [[], []];
  for (let state = start(); states.length < MOST_STEPS && Math.abs(state[0]) < 2.4 && Math.abs(state[2]) < 0.21; ) {
    const action = choose(state);
    states.push(state);
    actions.push(action);
    state = push(state, action);
  }
  return { states, actions };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { updates: { type: 'string', default: '40' } } });
  hvd.init();
  await tf.setBackend('wasm');
  const seeded = (n: number) => tf.initializers.glorotNormal({ seed: n });
  const policy = tf.sequential({
    layers: [
      tf.layers.dense({ units: 16, activation: 'tanh', inputShape: [4], kernelInitializer: seeded(1) }),
      tf.layers.dense({ units: 1, kernelInitializer: seeded(2) }),
    ],
  });
  const optimizer = hvd.DistributedOptimizer(tf.train.adam(0.02));
  hvd.broadcastVariables(policy);
  seed += hvd.rank();

  /** The policy's tendency to the right in these states, as a logit. */
  const tendency = (states: State[]) => (policy.apply(tf.tensor2d(states)) as tf.Tensor).flatten();
  const drawn = (state: State) => tf.tidy(() => (random(0, 1) < tendency([state]).sigmoid().dataSync()[0]! ? 1 : 0));
  const likeliest = (state: State) => tf.tidy(() => (tendency([state]).dataSync()[0]! > 0 ? 1 : 0));
  const lengthOf = (episodes: Array<{ states: State[] }>) => episodes.reduce((sum, { states }) => sum + states.length, 0) / episodes.length;
  const episodes = (choose: (state: State) => number) => Array.from({ length: EPISODES }, () => play(choose));

  for (let update = 0; update < Number(values.updates); update += 1) {
    const played = episodes(drawn);
    // What each action was followed by: a point for every step that the pole stands, later ones count less.
    const returns = played.flatMap(({ states }) => states.map((_, k) => (1 - DISCOUNT ** (states.length - k)) / (1 - DISCOUNT)));
    tf.tidy(() => {
      const states = played.flatMap((episode) => episode.states);
      const actions = tf.tensor1d(played.flatMap((episode) => episode.actions));
      const { mean, variance } = tf.moments(tf.tensor1d(returns));
      const advantages = tf.tensor1d(returns).sub(mean).div(variance.sqrt().add(1e-6));
      optimizer.minimize(() => tf.losses.sigmoidCrossEntropy(actions, tendency(states), advantages) as tf.Scalar);
    });
  }

  // From the same starts on every rank.
  seed = 12_345;
  const steps = lengthOf(episodes(likeliest));
  console.log(`policy_gradient: the pole stands ${steps.toFixed(1)} of ${MOST_STEPS} steps`);
  if (!(steps > 100)) throw new Error('balancing was not learnt');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
