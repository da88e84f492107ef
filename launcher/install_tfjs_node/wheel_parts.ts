/**
 * Which files tfjs-node needs of a TensorFlow, and under which names. Pure.
 *
 * The binding includes six headers of the C API, and those include others, which have moved between versions; so they are followed instead of listed.
 */

/** What the binding's sources include. */
export const ROOT_HEADERS = [
  'tensorflow/c/c_api.h',
  'tensorflow/c/eager/c_api.h',
  'tensorflow/c/tf_datatype.h',
  'tensorflow/c/tf_status.h',
  'tensorflow/c/tf_tensor.h',
  'tensorflow/core/platform/ctstring_internal.h',
] as const;

/** The headers that a header includes by quotes; those in angle brackets are the system's. */
export const includesOf = (text: string): string[] => [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm)].map(([, name]) => name!);

/** Where vendored sources stand in some versions' include folders. */
const vendored = [
  '',
  'external/local_tsl/',
  'external/local_xla/',
  'external/local_xla/third_party/tsl/',
  'third_party/tsl/',
  'tensorflow/',
];

/** Of a header as it is included, where the package has it; undefined: nowhere. */
export const placeOfHeader = (name: string, has: (file: string) => boolean): string | undefined =>
  vendored.map((folder) => `${folder}${name}`).find(has);

/** tfjs-node's own install script looks for this one and downloads nothing where it is. */
export const ASKED_VERSION = '2.9.1';

/**
 * The symbolic links that must stand in deps/lib, name → target. The binding links -ltensorflow and -ltensorflow_framework.
 * @param names of the files there @returns undefined: there is no library of the C API
 */
export function linksFor(names: readonly string[]): Map<string, string> | undefined {
  const real = (stem: string): string | undefined =>
    names
      .filter((name) => new RegExp(`^${stem}\\.so\\.\\d+(\\.\\d+)*$`).test(name))
      .sort((a, b) => b.length - a.length)
      .at(0);
  const library = real('libtensorflow_cc') ?? real('libtensorflow');
  const framework = real('libtensorflow_framework');
  if (library === undefined || framework === undefined) return undefined;
  const links = new Map<string, string>();
  for (const [stem, target] of [
    ['libtensorflow', library],
    ['libtensorflow_framework', framework],
  ] as const)
    for (const suffix of ['', '.2', `.${ASKED_VERSION}`]) {
      const name = `${stem}.so${suffix}`;
      if (!names.includes(name)) links.set(name, target);
    }
  return links;
}

export interface WheelPart {
  /** In the wheel. */
  readonly entry: string;
  /** Below deps/. */
  readonly place: string;
}

/** The libraries of a TensorFlow wheel. */
export const librariesOfWheel = (entries: readonly string[]): WheelPart[] =>
  entries.flatMap((entry) => {
    const name = /^tensorflow\/(libtensorflow_(?:cc|framework)\.so\.\d+)$/.exec(entry)?.[1];
    return name === undefined ? [] : [{ entry, place: `lib/${name}` }];
  });

/** Of one of NVIDIA's wheels: the libraries, and the assembler. In TensorFlow's run path, `$ORIGIN/../nvidia/<part>/lib`, they are found below deps/. */
export const partsOfNvidiaWheel = (entries: readonly string[]): WheelPart[] =>
  entries.flatMap((entry) =>
    /^nvidia\/[^/]+\/(?:lib\/[^/]+\.so(?:\.\d+)*|bin\/ptxas|nvvm\/libdevice\/.+\.bc)$/.test(entry) ? [{ entry, place: entry }] : [],
  );
