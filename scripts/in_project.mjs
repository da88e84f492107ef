// Runs a script of this checkout as one of a temporary project that has backends which a checkout lacks: `node scripts/in_project.mjs tfjs-node,webgpu scripts/measure_backends.mjs --backends …`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { makeProject } = createRequire(import.meta.url)(path.join(root, 'dist/test/helpers/backend_project.js'));
const [backends = '', script = '', ...args] = process.argv.slice(2);
const project = makeProject(...backends.split(','));
if (typeof project === 'string') throw new Error(project);
process.stderr.write(project.said);
// Packages are found from the folder of the program on.
const program = path.join(project.folder, 'run.mjs');
fs.writeFileSync(program, `await import(${JSON.stringify(pathToFileURL(path.resolve(script)).href)});\n`);
const { status } = spawnSync(process.execPath, [program, ...args], { env: { ...process.env, ...project.env }, stdio: 'inherit' });
process.exit(status ?? 1);
