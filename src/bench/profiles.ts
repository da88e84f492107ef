/**
 * How long a known processor computes a training step: what an emulated step waits instead of computing. A table, arithmetic, and the reading of a profile from a file; loads no TensorFlow.
 *
 * A profile has images per second of single devices, as somebody measured them, without communication. From them follows the time of one step, one third of it forward and two thirds backward: of a
 * convolution or dense layer the backward pass is two products (the gradient of its weights and that of its inputs) of as many multiply-adds as the one of the forward pass. Within the backward pass time
 * is distributed over the layers by their multiply-adds. What a source does not give (another network, image or batch size) is derived by multiply-adds, and says so.
 */
import { readFileSync } from 'node:fs';
import { UsageError } from '../errors';
import { layerMultiplyAdds, layersOf } from './models/graph';
import { CLASSES, describeNetwork, findNetwork, multiplyAddsOf, type NetworkName, networkNames, shapesOf } from './models/networks';

/** One measured rate. */
interface Rate {
  readonly imagesPerSec: number;
  readonly batchSize: number;
}
interface Figures {
  /** At the network's published image size and 1001 classes; one or more. */
  readonly rates: readonly Rate[];
  /** From where the rates are derived, where nobody measured the network itself. */
  readonly derived?: string;
}
interface Profile {
  readonly source: string;
  readonly figures: Partial<Record<NetworkName, Figures>>;
}

export interface ComputeOptions {
  /** Images a rank takes at a step. */
  batchSize: number;
  /** Height and width of the images. */
  imageSize: number;
  classes: number;
}

/** One training step on one device, in milliseconds. */
export interface Compute {
  readonly forwardMs: number;
  /** Of each variable, in the order of `shapesOf`: the time from when the gradient of the variable behind it (of the last one: the loss) is final until its own is. Their sum is the backward pass. */
  readonly backwardMs: readonly number[];
}
export interface ProfiledCompute extends Compute {
  /** Whose figure it is, of what, and how the time follows from it. */
  source: string;
  /** The source gives this very rate: nothing is derived by operation counts. */
  isPublished: boolean;
}

/** Of both passes. */
const FORWARD_SHARE = 1 / 3;
/** Of Inception-v3 at 299×299, forward, in 10⁹: torchvision's table of its models. It is no network here. */
const INCEPTION_V3_GIGAS = 5.71;
const GIGA = 1e9;

/** By operation counts: a device is taken to be as fast, in multiply-adds per second, on both. */
const derivedFrom = (title: string, rates: readonly Rate[], gigas: number, network: NetworkName): Figures => {
  const ratio = gigas / (multiplyAddsOf(network) / GIGA);
  const figures = rates.map(({ imagesPerSec }) => imagesPerSec).join(', ');
  return {
    rates: rates.map(({ imagesPerSec, batchSize }) => ({ imagesPerSec: imagesPerSec * ratio, batchSize })),
    derived: `not published; from ${title} (${figures} images/s) by multiply-adds, × ${ratio.toFixed(3)}`,
  };
};

/** Images per second of one GPU, synthetic data: the table of the page for Google Compute Engine, and its table "other results" for batches of 32. */
function k80(): Profile {
  const vgg16 = [{ imagesPerSec: 35.4, batchSize: 32 }];
  const inceptionV3 = [
    { imagesPerSec: 29.3, batchSize: 32 },
    { imagesPerSec: 30.5, batchSize: 64 },
  ];
  return {
    source:
      'TensorFlow, Benchmarks (tensorflow.org/performance/benchmarks), NVIDIA Tesla K80 on Google Compute Engine, 1 GPU, synthetic data, May 2017',
    figures: {
      vgg16: { rates: vgg16 },
      vgg19: derivedFrom('VGG-16', vgg16, multiplyAddsOf('vgg16') / GIGA, 'vgg19'),
      resnet50: {
        rates: [
          { imagesPerSec: 49.5, batchSize: 32 },
          { imagesPerSec: 51.9, batchSize: 64 },
        ],
      },
      resnet152: { rates: [{ imagesPerSec: 20, batchSize: 32 }] },
      inception_v4: derivedFrom('Inception-v3', inceptionV3, INCEPTION_V3_GIGAS, 'inception_v4'),
    },
  };
}

const profiles: Readonly<Record<string, () => Profile>> = { k80 };
export const profileNames: readonly string[] = Object.keys(profiles);

const isPositive = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0;
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of a file's content: `{ "source": "…", "networks": { "resnet50": { "imagesPerSec": 49.5, "batchSize": 32 } } }`. @throws UsageError it is anything else */
function profileOf(file: string, content: unknown): Profile {
  const wrong = (what: string): never => {
    throw new UsageError(
      `The profile ${file} ${what}. It must be { "source": "whose figures", "networks": { "resnet50": { "imagesPerSec": 49.5, "batchSize": 32 } } }, at the network's published image size.`,
    );
  };
  if (!isRecord(content)) return wrong('is no JSON object');
  const { source, networks } = content;
  if (typeof source !== 'string' || source === '') return wrong('has no source');
  if (!isRecord(networks) || Object.keys(networks).length === 0) return wrong('has no networks');
  const figures: Partial<Record<NetworkName, Figures>> = {};
  for (const [name, figure] of Object.entries(networks)) {
    const network = networkNames.find((known) => known === name);
    if (network === undefined) return wrong(`names a network '${name}' that does not exist: there are ${networkNames.join(', ')}`);
    if (!isRecord(figure) || !isPositive(figure.imagesPerSec)) return wrong(`has no imagesPerSec > 0 of ${name}`);
    if (!isPositive(figure.batchSize) || !Number.isInteger(figure.batchSize)) return wrong(`has no whole batchSize >= 1 of ${name}`);
    figures[network] = { rates: [{ imagesPerSec: figure.imagesPerSec, batchSize: figure.batchSize }] };
  }
  return { source, figures };
}

/** @throws UsageError there is none of that name; the file cannot be read, or is none */
function findProfile(profile: string): Profile {
  if (Object.hasOwn(profiles, profile)) return profiles[profile]!();
  if (!profile.endsWith('.json'))
    throw new UsageError(`There is no profile '${profile}'. There are ${profileNames.join(', ')}, or the path of a .json file.`);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(profile, 'utf8'));
  } catch (error) {
    throw new UsageError(`The profile ${profile} cannot be read: ${(error as Error).message}.`, { cause: error });
  }
  return profileOf(profile, content);
}

/** The rate at the batch size that is nearest, by ratio. */
const nearest = (rates: readonly Rate[], batchSize: number): Rate =>
  rates.reduce((best, rate) =>
    Math.abs(Math.log(rate.batchSize / batchSize)) < Math.abs(Math.log(best.batchSize / batchSize)) ? rate : best,
  );

/** Of each variable, in the order of the model's, in multiply-adds: all of a layer's count for its kernel. What adds or scales (biases, batch normalisation) is there with what follows it. */
function multiplyAddsOfVariables(network: NetworkName, size: number, classes: number): number[] {
  const byKernel = new Map(
    layersOf(describeNetwork(network, { size, classes })).map((one) => [`${one.name}/kernel`, layerMultiplyAdds(one)]),
  );
  return shapesOf(network, { size, classes }).map(({ name }) => byKernel.get(name) ?? 0);
}

/**
 * @param profile a name (`k80`), or the path of a `.json` file
 * @throws UsageError there is no such profile or network, the profile has no figure of it, the images are too small, or a number is no integer that is large enough
 */
export function computeOf(profile: string, network: string, { batchSize, imageSize, classes }: ComputeOptions): ProfiledCompute {
  const { name, title, size } = findNetwork(network);
  const { source, figures } = findProfile(profile);
  const found = figures[name];
  if (!found) throw new UsageError(`The profile ${profile} has no figure of ${name}. It has ${Object.keys(figures).join(', ')}.`);
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new UsageError(`A batch has 1 image or more, not ${batchSize}.`);
  const shares = multiplyAddsOfVariables(name, imageSize, classes);
  const whole = shares.reduce((sum, share) => sum + share, 0);
  const rate = nearest(found.rates, batchSize);
  const ratio = whole / multiplyAddsOf(name);
  const stepMs = ((1000 * batchSize) / rate.imagesPerSec) * ratio;
  const backwardMs = (1 - FORWARD_SHARE) * stepMs;
  const remarks = [
    ...(found.derived === undefined ? [] : [found.derived]),
    ...(rate.batchSize === batchSize ? [] : [`a batch of ${batchSize} taken as fast per image as one of ${rate.batchSize}`]),
    ...(imageSize === size && classes === CLASSES
      ? []
      : [
          `${imageSize}×${imageSize} pixels and ${classes} classes by multiply-adds from ${size}×${size} and ${CLASSES}, × ${ratio.toFixed(4)}`,
        ]),
  ];
  const figure = `${title}, ${Number(rate.imagesPerSec.toFixed(2))} images/s at a batch of ${rate.batchSize}`;
  return {
    forwardMs: FORWARD_SHARE * stepMs,
    backwardMs: shares.map((share) => (backwardMs * share) / whole),
    source: [`${source}: ${figure}`, ...remarks].join('; '),
    isPublished: remarks.length === 0,
  };
}
