// How training scales with the number of workers: networks × strategies × worker counts, images per second of each (docs/study.md). After `npm run build`:
//
//   node scripts/study/distributed.mjs [--networks A,B] [--strategies ring,ps-sync@1,…] [--workers 1,2,4] [--out DIR] [-H h1,h2,…]; --help shows all
//
// The same command goes on with what was stopped. --report DIR draws tables and figures of DIR anew.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const main = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'dist', 'scripts', 'study', 'distributed', 'main.js');
if (fs.existsSync(main)) process.exitCode = await (await import(main)).default.main(process.argv.slice(2));
else {
  console.error('study: the package is not built: run `npm run build` first');
  process.exitCode = 1;
}
