/** Which names mean this machine. */
import os from 'node:os';

/** Does this host of the host list name the machine we run on? Asks no name server. */
export function isThisMachine(host: string): boolean {
  const name = host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/%.*$/, '')
    .replace(/\.$/, '');
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)) return true;
  const own = os.hostname().toLowerCase();
  if (name === own || name === own.split('.')[0] || name.split('.')[0] === own) return true;
  return Object.values(os.networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address.toLowerCase().replace(/%.*$/, '') === name),
  );
}
