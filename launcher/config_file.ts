/** The --config-file: Horovod's YAML, its keys and the names of all other options, as texts like those of the command line. Pure. */
import { parse } from 'yaml';
import { LaunchError } from './errors';
import { meaninglessKeys, type Option, options } from './options';

/** Horovod's keys, and for every option its own name, with `-` or `_`. */
const byKey: ReadonlyMap<string, Option> = new Map(
  options
    .filter(({ isMeaningless, name }) => !isMeaningless && !['config-file', 'help', 'version', 'check-build'].includes(name))
    .flatMap((option) =>
      [option.configKey, option.name, option.name.replaceAll('-', '_')]
        .filter((key) => key !== undefined)
        .map((key) => [key, option] as const),
    ),
);

/** @throws LaunchError it is no YAML, or has a key that is no option */
export function readConfigFile(file: string, text: string): { given: Map<Option, string[]>; meaningless: string[] } {
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (error) {
    throw new LaunchError(`config file ${file} is no YAML: ${(error as Error).message.split('\n')[0]}`);
  }
  const given = new Map<Option, string[]>();
  const meaningless: string[] = [];
  for (const [key, value] of leaves(tree, '', file)) {
    const option = byKey.get(key);
    if (option) given.set(option, [value].flat().map(String));
    else if (meaninglessKeys.has(key)) meaningless.push(`'${key}' of the config file`);
    else throw new LaunchError(`config file ${file}: there is no option '${key}'`);
  }
  return { given, meaningless };
}

/** `a: {b: 1}` → ['a.b', 1]. A key without a value is not given. */
function leaves(tree: unknown, prefix: string, file: string): Array<[string, unknown]> {
  if (tree === null || tree === undefined) return [];
  if (typeof tree !== 'object' || Array.isArray(tree))
    throw new LaunchError(`config file ${file}${prefix && `, ${prefix}`}: options were expected, as in 'np: 4'`);
  return Object.entries(tree).flatMap(([name, value]): Array<[string, unknown]> => {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    if (value === null || value === undefined) return [];
    if (typeof value === 'object' && !Array.isArray(value)) return leaves(value, key, file);
    return [[key, value]];
  });
}
