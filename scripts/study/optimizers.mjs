// Seven optimizers train one network on CIFAR-10 with equal hyper-parameters, and every epoch's losses and accuracies are recorded (docs/study.md). After `npm run build`:
//
//   node scripts/study/optimizers.mjs [--data DIR] [--epochs 150] [-np 2] [--batch-size 32] [--lr 0.001] [--seed 1] [--images N] [--optimizers sgd,adam,…] [--until EPOCH] [--out results/study/optimizers]
//   node scripts/study/optimizers.mjs --table DIR
//
// DIR of --data has CIFAR-10's binary files; without it labelled gratings are made. --images: only the first N to train on; --batch-size is a rank's. The same command goes on with what was stopped, by whatever;
// --until ends each optimizer at that epoch for now, so that all can be compared before the last has begun its 150.
// --out gets settings.json, NAME.json (for readers), NAME.checkpoint (to go on from) and owner (which of two runs may write). --table prints what a folder holds.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkFolder, OPTIMIZERS, planOf, readArguments, StudyError, settingsOf } from './settings.mjs';
import { tableOf } from './table.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '..', '..');
const SETTINGS = 'settings.json';

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw new StudyError(`${file} cannot be read: ${error.message}`);
  }
}
const resultOf = (folder, optimizer) => readJson(path.join(folder, `${optimizer}.json`));

/** Settings that lie in the folder; undefined: it is empty, or not there. */
function settingsIn(folder) {
  let names;
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw new StudyError(`--out ${folder} cannot be used: ${error.message}`);
  }
  const found = readJson(path.join(folder, SETTINGS));
  if (!found && names.some((name) => !name.endsWith('.part')))
    throw new StudyError(`--out ${folder} holds other files and no ${SETTINGS}: give an empty folder, or one that is not there yet`);
  return found;
}

function printTable(folder) {
  const results = OPTIMIZERS.map((optimizer) => resultOf(folder, optimizer)).filter(Boolean);
  if (results.length === 0) throw new StudyError(`--table ${folder} holds no results`);
  console.log(tableOf(results));
}

let stopping;
/** Ends with the exit code of tsrun. */
function train(ranks, job) {
  const words = ['-np', String(ranks), '--no-prefix', path.join(here, 'train_optimizer.ts'), JSON.stringify(job)];
  const child = spawn(process.execPath, [path.join(root, 'dist/launcher/tsrun.js'), ...words], { stdio: ['ignore', 'inherit', 'inherit'] });
  const pass = (signal) => {
    stopping = signal;
    child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, pass);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      for (const name of signals) process.off(name, pass);
      resolve(code ?? 128 + os.constants.signals[signal]);
    });
  });
}

async function main() {
  const given = readArguments(process.argv.slice(2));
  if (given.table !== undefined) {
    printTable(given.table);
    return 0;
  }
  const out = path.resolve(given.out);
  const data = given.data && path.resolve(given.data);
  const images = path.join(root, 'dist/scripts/study/data.js');
  if (!fs.existsSync(images)) throw new StudyError('the package is not built: run `npm run build` first');
  const { DataError, identityOf, studyData } = (await import(images)).default;
  let settings;
  try {
    settings = settingsOf(given, identityOf(studyData(data, given.images, given.seed)));
  } catch (error) {
    throw error instanceof DataError ? new StudyError(error.message) : error;
  }
  checkFolder(out, settingsIn(out), settings);
  const done = Object.fromEntries(given.optimizers.map((optimizer) => [optimizer, resultOf(out, optimizer)?.epochs.length]));

  const owner = randomUUID();
  fs.mkdirSync(out, { recursive: true });
  const write = (name, text) => {
    fs.writeFileSync(path.join(out, `${name}.part`), text);
    fs.renameSync(path.join(out, `${name}.part`), path.join(out, name));
  };
  write(SETTINGS, `${JSON.stringify(settings, null, 1)}\n`);
  write('owner', owner);
  for (const { optimizer, from, act } of planOf(given.optimizers, given.until, done)) {
    console.log(
      `${optimizer}: ${act === 'done' ? `${from} epochs are there` : act === 'start' ? 'starts' : `goes on after epoch ${from}`}`,
    );
    if (act === 'done') continue;
    const code = await train(given.ranks, { optimizer, settings, until: given.until, data, out, owner });
    if (code === 0 && !stopping) continue;
    const how = stopping ? `was stopped by ${stopping}` : `ended with exit code ${code}`;
    console.error(`study: ${optimizer} ${how}; what is done is in ${out}, the same command goes on from there`);
    return code || 128 + os.constants.signals[stopping];
  }
  printTable(out);
  return 0;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    console.error(error instanceof StudyError ? `study: ${error.message}` : error);
    process.exitCode = 1;
  },
);
