/**
 * A program without TensorFlow.js: k-means.
 *
 *   npx tsx examples/single/plain.ts
 */
/** Where the clusters of the made points lie. */
const CENTRES = [
  [0, 0],
  [6, 1],
  [3, 5],
  [-4, 4],
];
const POINTS = 40_000;

/** Points around the centres by Park and Miller's generator: the same ones in every process. */
function makePoints(): number[][] {
  let state = 1;
  const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  return Array.from({ length: POINTS }, (_, i) => {
    const [x, y] = CENTRES[i % CENTRES.length]!;
    const [radius, angle] = [Math.sqrt(-2 * Math.log(random())), 2 * Math.PI * random()];
    return [x! + radius * Math.cos(angle), y! + radius * Math.sin(angle)];
  });
}

function nearest(centres: number[][], [x, y]: number[]): number {
  const squares = centres.map(([cx, cy]) => (x! - cx!) ** 2 + (y! - cy!) ** 2);
  return squares.indexOf(Math.min(...squares));
}

const points = makePoints();
// A guess.
let centres = [
  [1, 1],
  [3, 1],
  [2, 3],
  [0, 3],
];

let moved = Number.POSITIVE_INFINITY;
let rounds = 0;
while (moved > 1e-6 && rounds < 100) {
  // Of each cluster: sum of x, sum of y, number of points.
  const sums = new Float64Array(3 * centres.length);
  for (const point of points) {
    const at = 3 * nearest(centres, point);
    sums[at]! += point[0]!;
    sums[at + 1]! += point[1]!;
    sums[at + 2]! += 1;
  }
  const next = centres.map((_, k) => [sums[3 * k]! / sums[3 * k + 2]!, sums[3 * k + 1]! / sums[3 * k + 2]!]);
  moved = Math.max(...next.map(([x, y], k) => Math.hypot(x! - centres[k]![0]!, y! - centres[k]![1]!)));
  centres = next;
  rounds += 1;
}

const farthest = Math.max(...centres.map(([x, y], k) => Math.hypot(x! - CENTRES[k]![0]!, y! - CENTRES[k]![1]!)));
console.log(`plain: ${rounds} rounds, centres found to ${farthest.toFixed(4)}`);
if (!(farthest < 0.2)) throw new Error('the centres were not found');
