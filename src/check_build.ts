/** `tsrun --check-build`: what this installation can do, as horovodrun shows it; tsrun adds the backends that work. A program of its own, so that the launcher loads none of it. */
import { buildInfo } from './build_info';

const mark = (is: unknown): string => (is ? '[X]' : '[ ]');

const info = buildInfo() as {
  version: string;
  node: string;
  platform: string;
  packages: Record<string, string | null>;
  transports: string[];
  collectives: string[];
};
const lines = [
  `khorovod v${info.version}, Node ${info.node}, ${info.platform}`,
  '',
  'Packages:',
  ...Object.entries(info.packages).map(([name, version]) => `    ${mark(version)} ${name}${version ? ` ${version}` : ''}`),
  '',
  'Transports:',
  ...info.transports.map((name) => `    ${mark(true)} ${name}`),
  '',
  'Collectives:',
  ...info.collectives.map((name) => `    ${mark(true)} ${name}`),
];
process.stdout.write(`${lines.join('\n')}\n`);
