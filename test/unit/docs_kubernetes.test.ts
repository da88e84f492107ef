/**
 * The manifests of docs/kubernetes.md: they parse, have the fields that they need and none that nobody knows, and hang together.
 *
 * They are read as kubectl reads them (YAML 1.1: 0400 is octal). The fields are listed here. Published packages of Kubernetes' schemas let misspelled fields pass, leave out every operator's own kinds, or need a later Node than this project.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { knobs } from '../../src/config';
import { identify } from '../../src/schedulers/select';

const text = readFileSync(path.join(__dirname, '..', '..', '..', 'docs', 'kubernetes.md'), 'utf8');
type Tree = { [key: string]: unknown };
const manifests = [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].flatMap((block) =>
  parseAllDocuments(block[1]!, { version: '1.1', strict: true, uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as Tree;
  }),
);

/** What a field holds: a kind of value, an object with these fields (`!`: must be there), or a list of them. */
type Shape = 'text' | 'number' | 'flag' | 'map' | { [field: string]: Shape } | readonly [Shape];
const metadata: Shape = { 'name!': 'text', labels: 'map' };
const container: Shape = {
  'name!': 'text',
  'image!': 'text',
  command: ['text'],
  env: [{ 'name!': 'text', 'value!': 'text' }],
  volumeMounts: [{ 'name!': 'text', 'mountPath!': 'text', readOnly: 'flag' }],
  securityContext: { runAsUser: 'number' },
};
const podTemplate: Shape = {
  'spec!': {
    subdomain: 'text',
    restartPolicy: 'text',
    securityContext: { runAsUser: 'number', runAsNonRoot: 'flag', fsGroup: 'number' },
    'containers!': [container],
    volumes: [{ 'name!': 'text', 'secret!': { 'secretName!': 'text', 'defaultMode!': 'number' } }],
  },
};
const jobSpec: Shape = {
  completionMode: 'text',
  completions: 'number',
  parallelism: 'number',
  backoffLimit: 'number',
  'template!': podTemplate,
};
const jobSetSpec: Shape = {
  failurePolicy: { maxRestarts: 'number' },
  'replicatedJobs!': [{ 'name!': 'text', replicas: 'number', 'template!': { metadata: { labels: 'map' }, 'spec!': jobSpec } }],
};
const shapes: { [kind: string]: Shape } = {
  'v1 Secret': { 'metadata!': metadata, 'type!': 'text', 'stringData!': 'map' },
  'v1 Service': { 'metadata!': metadata, 'spec!': { 'clusterIP!': 'text', 'publishNotReadyAddresses!': 'flag', 'selector!': 'map' } },
  'batch/v1 Job': { 'metadata!': metadata, 'spec!': jobSpec },
  'jobset.x-k8s.io/v1alpha2 JobSet': { 'metadata!': metadata, 'spec!': jobSetSpec },
  'trainer.kubeflow.org/v1alpha1 TrainingRuntime': {
    'metadata!': metadata,
    'spec!': { 'mlPolicy!': { numNodes: 'number', 'torch!': {} }, 'template!': { 'spec!': jobSetSpec } },
  },
  'trainer.kubeflow.org/v1alpha1 TrainJob': {
    'metadata!': metadata,
    'spec!': {
      'runtimeRef!': { 'kind!': 'text', 'name!': 'text' },
      'trainer!': { 'numNodes!': 'number', 'numProcPerNode!': 'number', 'command!': ['text'] },
    },
  },
  'kubeflow.org/v2beta1 MPIJob': {
    'metadata!': metadata,
    'spec!': {
      slotsPerWorker: 'number',
      sshAuthMountPath: 'text',
      runPolicy: { cleanPodPolicy: 'text', backoffLimit: 'number' },
      'mpiReplicaSpecs!': {
        'Launcher!': { replicas: 'number', 'template!': podTemplate },
        'Worker!': { replicas: 'number', 'template!': podTemplate },
      },
    },
  },
};

/** What does not fit, as `path: problem`. */
function problems(value: unknown, shape: Shape, at: string): string[] {
  if (shape === 'map') return Object.values((value ?? {}) as Tree).every((one) => typeof one === 'string') ? [] : [`${at}: not all texts`];
  if (typeof shape === 'string') {
    const type = { text: 'string', number: 'number', flag: 'boolean' }[shape];
    return typeof value === type ? [] : [`${at}: ${JSON.stringify(value)} is no ${shape}`];
  }
  if (Array.isArray(shape))
    return Array.isArray(value) ? value.flatMap((one, i) => problems(one, shape[0], `${at}[${i}]`)) : [`${at}: no list`];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${at}: no object`];
  const fields = new Map(Object.entries(shape).map(([name, inner]) => [name.replace('!', ''), inner]));
  const missing = Object.keys(shape).filter((name) => name.endsWith('!') && !(name.slice(0, -1) in value));
  const unknown = Object.keys(value).filter((name) => !fields.has(name));
  return [
    ...missing.map((name) => `${at}: ${name.slice(0, -1)} is missing`),
    ...unknown.map((name) => `${at}: ${name} is unknown`),
    ...Object.entries(value).flatMap(([name, inner]) => (fields.has(name) ? problems(inner, fields.get(name)!, `${at}.${name}`) : [])),
  ];
}

const kindOf = ({ apiVersion, kind }: Tree): string => `${apiVersion} ${kind}`;
/** All values of that field, however deep. */
function all(tree: unknown, field: string): unknown[] {
  if (typeof tree !== 'object' || tree === null) return [];
  return Object.entries(tree).flatMap(([name, value]) => (name === field ? [value, ...all(value, field)] : all(value, field)));
}
const named = (kind: string): Tree => manifests.find((one) => kindOf(one).endsWith(kind))!;

t.test('every way is shown, each with the fields that its kind has', async (t) => {
  t.same(new Set(manifests.map(kindOf)), new Set(Object.keys(shapes)));
  for (const manifest of manifests) {
    const { apiVersion, kind, ...rest } = manifest;
    t.same(problems(rest, shapes[`${apiVersion} ${kind}`]!, String(kind)), []);
  }
});

t.test('the key is mounted where it is looked for, with a mode that is accepted', async (t) => {
  const { name } = named('Secret').metadata as { name: string };
  for (const kind of ['Job', 'JobSet', 'TrainingRuntime']) {
    const manifest = named(kind);
    t.same(all(manifest, 'secretName'), [name], kind);
    t.same(all(manifest, 'defaultMode'), [0o400], kind);
    const [mounts] = all(manifest, 'volumeMounts') as [Array<{ name: string; mountPath: string }>];
    const [volumes] = all(manifest, 'volumes') as [Array<{ name: string }>];
    t.equal(mounts[0]!.name, volumes[0]!.name);
    const env = (all(manifest, 'env') as [Array<{ name: string; value: string }>])[0];
    const file = env.find((one) => one.name === knobs.keyFile.env)?.value;
    t.equal(file && path.dirname(file), mounts[0]!.mountPath);
    t.equal(path.basename(file!), Object.keys(named('Secret').stringData as Tree)[0]);
  }
  t.ok(Object.values(named('Secret').stringData as Record<string, string>)[0]!.length < 32, 'nobody can use the placeholder');
});

t.test('the pods of an Indexed Job and of a JobSet are as many as they are told, and find rank 0', async (t) => {
  const { name: service } = named('Service').metadata as { name: string };
  const { name: job } = named('batch/v1 Job').metadata as { name: string };
  t.same((named('Service').spec as Tree).selector, { 'job-name': job });
  t.same(all(named('batch/v1 Job'), 'subdomain'), [service]);
  const table: Array<[string, string, string]> = [
    ['batch/v1 Job', `${job}-3`, service],
    ['JobSet', 'train-workers-0-3', 'train'],
  ];
  for (const [kind, hostname, domain] of table) {
    const env = (all(named(kind), 'env') as [Array<{ name: string; value: string }>])[0];
    const set = Object.fromEntries(env.map((one) => [one.name, one.value]));
    t.same([...all(named(kind), 'completions'), ...all(named(kind), 'parallelism')].map(String), [set.WORLD_SIZE, set.WORLD_SIZE], kind);
    const hosts = `10.0.0.9\t${hostname}.${domain}.default.svc.cluster.local\t${hostname}`;
    const facts = { hostname, hostsFile: () => hosts, launcherPid: () => 1 };
    const identity = identify({ ...set, JOB_COMPLETION_INDEX: '3', KUBERNETES_SERVICE_HOST: '10.96.0.1' }, facts);
    t.match(identity, { rank: 3, size: 4, isInPod: true, rendezvous: { port: 29_500 } });
    const rankZero = `${hostname.slice(0, -2)}-0.${domain}`;
    t.ok(identity!.rendezvous.hosts[0]!.startsWith(`${rankZero}.`));
    t.match(text, `\`${rankZero}\``, 'the page says so');
  }
});

t.test('a TrainJob runs one process a pod, an MPIJob as many as it has slots', async (t) => {
  t.same(all(named('TrainJob'), 'numProcPerNode'), [1]);
  t.equal(((named('TrainJob').spec as Tree).runtimeRef as Tree).name, (named('TrainingRuntime').metadata as Tree).name);
  const spec = named('MPIJob').spec as { slotsPerWorker: number; mpiReplicaSpecs: { Worker: { replicas: number }; Launcher: Tree } };
  const [command] = all(spec.mpiReplicaSpecs.Launcher, 'command') as [string[]];
  t.equal(command[command.indexOf('-np') + 1], String(spec.slotsPerWorker * spec.mpiReplicaSpecs.Worker.replicas));
});
