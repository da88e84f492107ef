/** Variables of the ranks as the command line and files give them: `NAME=value`. Pure. */
import { LaunchError } from './errors';

const isVariable = (name: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name);

/** `VAR=value`, or `VAR`: the value it has here; one that has none here stays unset. */
export function assignment(text: string, env: Readonly<Record<string, string>>): Array<[string, string]> {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  if (!isVariable(name)) throw new LaunchError(`-x '${text}': '${name}' is no name of a variable; write -x NAME=value`);
  const value = equals < 0 ? env[name] : text.slice(equals + 1);
  return value === undefined ? [] : [[name, value]];
}

/** `KEY=value` a line: the rest of the line is the value as it stands. Blank lines and lines that begin with # are left out. */
export function parseEnvFile(text: string, file: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [i, line] of text.split('\n').entries()) {
    const bare = line.replace(/\r$/, '');
    if (bare.trim() === '' || bare.startsWith('#')) continue;
    const equals = bare.indexOf('=');
    if (equals < 0 || !isVariable(bare.slice(0, equals)))
      throw new LaunchError(`environment file ${file}, line ${i + 1}: '${bare}' is not KEY=value`);
    found[bare.slice(0, equals)] = bare.slice(equals + 1);
  }
  return found;
}
