// Runs checks one after the other and says of each what came of it. Pure, but for the clock and the printing that are given.
//
// A check is {name, needs, act}. `needs` are functions of the machine that say what is missing, or undefined; then it is skipped. `act` returns what was seen, throws Skipped, or fails.

/** What a check cannot do on this machine; its message says why. */
export class Skipped extends Error {}

const seconds = (ms) => (ms / 1000).toFixed(1);
/** One line each, also where programs said more. */
const oneLine = (text) => text.trim().replace(/\s*\n\s*/g, ' | ');

/**
 * @param checks in this order; `only` leaves out others, `limitMs` starts no more of them after that time
 * @param now milliseconds @param print one line
 * @returns how many of each
 */
export async function runChecks(checks, machine, { only = /./, limitMs = Number.POSITIVE_INFINITY }, { now, print }) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const started = now();
  const say = (count, word, name, from, text) => {
    counts[count] += 1;
    print(`${word} ${name} (${seconds(now() - from)} s): ${oneLine(text)}`);
  };
  for (const { name, needs = [], act } of checks) {
    if (!only.test(name)) continue;
    const from = now();
    const missing = needs.map((need) => need(machine)).find((one) => one !== undefined);
    if (missing !== undefined) say('skipped', 'skipped', name, from, missing);
    else if (from - started >= limitMs)
      say('skipped', 'skipped', name, from, `${seconds(from - started)} s have passed, --time is ${seconds(limitMs)}`);
    else {
      try {
        say('passed', 'ok', name, from, await act(machine));
      } catch (error) {
        if (error instanceof Skipped) say('skipped', 'skipped', name, from, error.message);
        else say('failed', 'FAILED', name, from, error.message);
      }
    }
  }
  print(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts;
}

/** @throws Error with what was seen */
export function must(holds, what) {
  if (!holds) throw new Error(what);
}
