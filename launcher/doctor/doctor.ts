/**
 * `tsrun doctor`: asks every host of a job, all at the same time, what would keep the job from starting, and prints it. tsrun's process.
 *
 * Goes the way of a job (reach, agent, trial of the networks) and starts no rank; findings.ts judges. Invariants: a host that fails holds up no other; every wait has
 * --start-timeout as its deadline; no agent is left when it ends.
 */
import { randomBytes } from 'node:crypto';
import { version } from '../../src/version';
import type { khorovod } from '../../src/wire/generated/messages';
import { AgentLink } from '../agent_link';
import { LaunchError } from '../errors';
import { type Assignment, assign, type HostSpec } from '../hosts';
import { candidatesOf, chooseAddress, type HostNetworks, targetsOf } from '../networks';
import { type HostName, type Place, reachEach, sshName } from '../reach';
import type { RunRequest } from '../request';
import { hostsOfJob, isSameHost, placeServers, serverLabel } from '../servers';
import { BEAT_MS, silenceLimitMs } from '../silence';
import { files } from '../ssh/files';
import { type Answer, type Examined, exitCodeOf, type Finding, findingsOf, type HostFacts, machineOf } from './findings';
import { examineOutput } from './output';

/** Until an agent that was told to end is ended. */
const AGENT_END_MS = 3000;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** One host, and what is known of it so far. */
interface Patient {
  readonly name: HostName;
  readonly facts: Writable<HostFacts>;
  place?: Place;
  agent?: AgentLink;
  /** Settles when its agent is gone. */
  over: Promise<void>;
  /** Those that may try each other. */
  networks?: HostNetworks;
  candidates: readonly string[];
  ports: readonly number[];
}

/** @returns the exit code of tsrun @throws LaunchError (exit 2) a wrong option */
export async function doctor(request: RunRequest, isJson: boolean): Promise<number> {
  const findings: Finding[] = request.notices.map((text) => ({ host: '', check: 'options', level: 'warning', text }));
  const hosts = request.hosts ?? [{ host: 'localhost' }];
  const assignments = assigned(request, hosts, findings);
  const servers = placeServers(request.ps, hosts, request.psHosts);
  const others = hostsOfJob(assignments, servers).filter((one) => !hosts.some((listed) => isSameHost(one, listed)));
  const patients = [...hosts, ...others].map((spec): Patient => {
    const ranks = assignments.filter((one) => isSameHost(one, spec));
    const serversThere = servers.filter((one) => isSameHost(one, spec)).length;
    return {
      name: spec,
      facts: { host: spec.host, isHere: false, sshName: sshName(spec), ranks, servers: serversThere },
      over: Promise.resolve(),
      candidates: [],
      ports: [],
    };
  });
  const asked = patients.filter(({ facts }) => facts.ranks.length + facts.servers > 0);
  for (const { facts } of patients.filter((patient) => !asked.includes(patient)))
    findings.push({ host: facts.host, check: 'slots', level: 'ok', text: 'gets no rank: not asked' });
  const labels = [...assignments.map(({ rank }) => String(rank)), ...servers.map(({ server }) => serverLabel(server))];
  if (request.outputFolder !== undefined) findings.push(examineOutput(request.outputFolder, labels));
  await examineAll(asked, request);
  const { wdir, portRange, pinning, rsh } = request;
  const question = { version, wdir, sshOptions: sshOptionsOf(request), rsh, portRange, pinning };
  findings.push(
    ...findingsOf(
      asked.map(({ facts }) => facts),
      question,
    ),
  );
  const exitCode = exitCodeOf(findings);
  process.stdout.write(isJson ? `${JSON.stringify({ version, exitCode, findings })}\n` : textOf(findings, exitCode));
  return exitCode;
}

/** Too few slots are a finding; each host is then asked about as many ranks as it has slots. */
function assigned({ np, ps, oversubscribe }: RunRequest, hosts: readonly HostSpec[], findings: Finding[]): Assignment[] {
  try {
    const all = assign(np, hosts.length === 1 && hosts[0]!.slots === undefined ? [{ ...hosts[0]!, slots: np }] : hosts, { oversubscribe });
    const beside = ps > 0 ? `, ${ps} parameter servers` : '';
    const text = `${np} processes on ${new Set(all.map(({ host }) => host)).size} hosts${beside}`;
    findings.push({ host: '', check: 'slots', level: 'ok', text });
    return all;
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    findings.push({ host: '', check: 'slots', level: 'error', text: error.message, exitCode: 4 });
    const slots = hosts.map((spec) => ({ ...spec, slots: spec.slots ?? 1 }));
    return assign(
      slots.reduce((sum, spec) => sum + Math.min(spec.slots, spec.maxSlots ?? spec.slots), 0),
      slots,
      { oversubscribe },
    );
  }
}

async function examineAll(patients: readonly Patient[], request: RunRequest): Promise<void> {
  const { rsh, awaitsHosts, ssh, wdir, networkInterface, portRange } = request;
  const timeoutMs = request.startTimeoutSeconds * 1000;
  const names = patients.map(({ name }) => name);
  const { attempts, close } = await reachEach(names, {
    rsh,
    awaitsHosts,
    ssh,
    files,
    wdir,
    timeoutMs,
    silenceMs: silenceLimitMs(request.peerTimeoutSeconds),
  });
  const beating = setInterval(() => {
    for (const { agent } of patients) agent?.beat();
  }, BEAT_MS);
  try {
    await Promise.all(patients.map((patient, i) => startAgent(patient, attempts[i]!, timeoutMs)));
    const fit = patients.filter(({ facts }) => facts.answer?.version === version && facts.gone === undefined);
    for (const patient of fit) nameCandidates(patient, patients.length, networkInterface);
    const secret = { jobId: randomBytes(16).toString('hex'), key: randomBytes(32) };
    const job = { ...secret, wdir, firstPort: portRange?.first ?? 0, lastPort: portRange?.last ?? 0 };
    // Those that try each other have the first places.
    const triers = fit.filter(({ networks }) => networks !== undefined);
    const ordered = [...triers, ...fit.filter(({ networks }) => networks === undefined)];
    const machines = new Map<string, Array<() => Promise<void>>>();
    for (const [place, patient] of ordered.entries()) {
      const ask = () => examine(patient, { ...job, place, addresses: [...patient.candidates] }, timeoutMs);
      const machine = machineOf(patient.facts.answer!);
      machines.set(machine, [...(machines.get(machine) ?? []), ask]);
    }
    await Promise.all([...machines.values()].map(inTurn));
    if (triers.length > 1) await tryNetworks(triers, timeoutMs);
  } finally {
    await Promise.all(patients.map(endAgent));
    clearInterval(beating);
    close();
  }
}

/** Names of one machine would take each other's ports for taken while those are counted. */
async function inTurn(asks: ReadonlyArray<() => Promise<void>>): Promise<void> {
  for (const ask of asks) await ask();
}

async function startAgent(patient: Patient, attempt: PromiseSettledResult<Place>, timeoutMs: number): Promise<void> {
  const { facts } = patient;
  try {
    if (attempt.status === 'rejected') throw attempt.reason;
    patient.place = attempt.value;
    facts.isHere = attempt.value.isHere;
    const channel = await attempt.value.open('agent.js');
    patient.over = new Promise((resolve) => {
      patient.agent = new AgentLink(facts.host, channel, {
        onMessage: () => {},
        onGone: (how) => {
          facts.gone ??= how;
          resolve();
        },
      });
    });
  } catch (error) {
    if (!(error instanceof LaunchError) || error.exitCode === 2) throw error;
    const { message, cause, mend } = error;
    facts.refusal = { message, cause, mend };
    return;
  }
  const ready = await answerOf(patient, 'ready', timeoutMs);
  if (ready) facts.answer = answerFrom(ready);
}

/** undefined: its agent is gone, or did not answer in time; the facts say so. */
async function answerOf<K extends Parameters<AgentLink['answer']>[0]>(patient: Patient, kind: K, timeoutMs: number) {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      patient.facts.gone ??= `did not answer within ${timeoutMs / 1000} s`;
      resolve(undefined);
    }, timeoutMs);
  });
  const answer = await Promise.race([patient.agent!.answer(kind), patient.over.then(() => undefined), late]);
  clearTimeout(timer);
  return answer;
}

/** Where there is one host, its ranks meet on loopback. */
function nameCandidates(patient: Patient, hosts: number, networkInterface?: string): void {
  const { facts, place } = patient;
  if (hosts === 1) return;
  const networks = { host: facts.host, interfaces: facts.answer!.interfaces, reachedBy: place?.address };
  try {
    patient.candidates = candidatesOf(networks, networkInterface);
    patient.networks = networks;
  } catch (error) {
    facts.interfaceProblem = (error as Error).message;
  }
}

async function examine(patient: Patient, asked: khorovod.Examine.$Properties, timeoutMs: number): Promise<void> {
  const sentMs = Date.now();
  patient.agent!.send({ examine: asked });
  const answer = await answerOf(patient, 'examined', timeoutMs);
  if (!answer) return;
  const roundTripMs = Math.max(0, Date.now() - sentMs - (answer.tookMs ?? 0));
  patient.ports = answer.ports ?? [];
  patient.facts.examined = examinedFrom(answer, (answer.clockMs ?? 0) - (sentMs + roundTripMs / 2), roundTripMs / 2);
}

async function tryNetworks(patients: readonly Patient[], timeoutMs: number): Promise<void> {
  const candidates = patients.map((patient) => patient.candidates);
  const ports = patients.map((patient) => patient.ports);
  const trials = await Promise.all(
    patients.map(async (patient, from) => {
      const targets = targetsOf(from, candidates, ports);
      if (patient.facts.gone !== undefined) return [];
      patient.agent!.send({ probe: { targets } });
      const probed = await answerOf(patient, 'probed', timeoutMs);
      if (!probed) return [];
      return targets.map(({ place, address }, i) => ({ from, to: place, address, isReached: probed.reached?.[i] ?? false }));
    }),
  );
  const networks = patients.map((patient) => patient.networks!);
  for (const [place, { facts }] of patients.entries()) {
    if (facts.gone !== undefined) continue;
    try {
      facts.address = chooseAddress(place, networks, candidates, trials.flat());
    } catch (error) {
      facts.networkProblem = (error as Error).message;
    }
  }
}

async function endAgent({ agent, over, facts }: Patient): Promise<void> {
  if (!agent) return;
  facts.gone ??= ENDED;
  agent.send({ end: { graceMs: 0 } });
  const timer = setTimeout(() => agent.kill(), AGENT_END_MS);
  await Promise.race([over, new Promise((resolve) => setTimeout(resolve, AGENT_END_MS + BEAT_MS).unref())]);
  clearTimeout(timer);
  if (facts.gone === ENDED) facts.gone = undefined;
}
/** By us. */
const ENDED = '';

const answerFrom = ({ version: theirs, host, node, gpus, cpus, numaNodes, interfaces }: khorovod.AgentReady.$Properties): Answer => ({
  version: theirs ?? '',
  hostname: host ?? '',
  node: node ?? '',
  devices: { gpus: gpus ?? [], cpus: cpus ?? [], numaNodes: (numaNodes ?? []).map((one) => one.cpus ?? []) },
  interfaces: (interfaces ?? []).map(({ name, address }) => ({ name: name ?? '', address: address ?? '' })),
});

const examinedFrom = (answer: khorovod.Examined.$Properties, clockAheadMs: number, uncertainMs: number): Examined => ({
  clockAheadMs,
  uncertainMs,
  tmpFreeBytes: answer.tmpFreeBytes ?? 0,
  tmpProblem: answer.tmpProblem ?? '',
  wdirFreeBytes: answer.wdirFreeBytes ?? 0,
  wdirProblem: answer.wdirProblem ?? '',
  triedPorts: answer.triedPorts ?? 0,
  freePorts: answer.freePorts ?? 0,
  relayProblem: answer.relayProblem ?? '',
  backends: answer.backends ?? [],
});

/** So that a command that mends is the user's to paste. */
const sshOptionsOf = ({ ssh: { port, configFile, identityFile } }: RunRequest): string[] => [
  ...(configFile === undefined ? [] : ['-F', configFile]),
  ...(port === undefined ? [] : ['-p', String(port)]),
  ...(identityFile === undefined ? [] : ['-i', identityFile]),
];

function textOf(findings: readonly Finding[], exitCode: number): string {
  const lines = findings.map(({ host, check, level, text, mend }) => {
    const said = text.replaceAll('\n', ' | ');
    return `${host || 'job'}: ${level.padEnd(7)} ${check}: ${said}${mend === undefined || said.includes(mend) ? '' : ` → ${mend}`}`;
  });
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length;
  const verdicts: Record<number, string> = {
    0: 'a job would start',
    2: 'the output of a job cannot be kept',
    3: 'a job cannot be launched',
    4: 'there are too few slots or GPUs',
  };
  return `${lines.join('\n')}\n${verdicts[exitCode]} (${count('error')} errors, ${count('warning')} warnings)\n`;
}
