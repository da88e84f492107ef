// One study that was run in parts, each with other networks, on several test-beds at the same time: `node scripts/study/join_parts.mjs OUT PART PART…` joins the parts' folders into a new one;
// `node scripts/study/distributed.mjs --report OUT` then draws tables and figures of all networks. Parts that differ in anything but their networks are refused.
import fs from 'node:fs';
import path from 'node:path';

const [out, ...folders] = process.argv.slice(2);
const fail = (text) => {
  process.stderr.write(`join_parts: ${text}\n`);
  process.exit(2);
};
if (!out || folders.length < 2) fail('usage: node scripts/study/join_parts.mjs OUT PART PART…');
if (fs.existsSync(out)) fail(`${out} is there already; name a new folder.`);
const parts = folders.map((folder) => {
  try {
    return JSON.parse(fs.readFileSync(path.join(folder, 'sweep.json'), 'utf8'));
  } catch (error) {
    return fail(`${folder} has no study: ${error.message}`);
  }
});
/** All that makes results comparable. */
const settingsOf = ({ asked, facts }) => {
  const { vary, ...rest } = asked;
  const { leftOut, ...others } = facts;
  return JSON.stringify({ rest, varied: vary.map(({ name }) => name), others });
};
const odd = parts.findIndex((part) => settingsOf(part) !== settingsOf(parts[0]));
if (odd > 0) fail(`${folders[odd]} was run with other settings than ${folders[0]}.`);
const [first] = parts;
const whole = {
  ...first,
  asked: { ...first.asked, vary: [{ name: 'network', values: parts.flatMap(({ asked }) => asked.vary[0].values) }] },
  sessions: parts.flatMap(({ sessions }) => sessions),
  runs: parts.flatMap(({ runs }, i) => runs.map((run) => ({ ...run, log: run.log.replace(/^logs/, `logs/${i}`) }))),
  facts: { ...first.facts, leftOut: parts.flatMap(({ facts }) => facts.leftOut) },
};
fs.mkdirSync(out, { recursive: true });
fs.writeFileSync(path.join(out, 'sweep.json'), `${JSON.stringify(whole, null, 1)}\n`);
for (const [i, folder] of folders.entries()) fs.cpSync(path.join(folder, 'logs'), path.join(out, 'logs', String(i)), { recursive: true });
