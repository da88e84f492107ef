/**
 * Writes a WebAssembly module: what an assembler would do for the kernels, in about a millisecond at run time, without a dependency or a build step. Pure.
 *
 * Code is nested arrays of bytes, flattened at the end; an instruction is named as in the text format. Only what the kernels use is here.
 * Source: WebAssembly Core Specification 2.0, chapter 5 (binary format); section numbers stand beside what they define. Threads proposal: shared memories.
 */
import { BugError } from '../errors';

export type Code = ReadonlyArray<number | Code>;

/** §5.3.1, §5.3.2 */
const valueTypes = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = keyof typeof valueTypes;

export interface FunctionSource {
  readonly name: string;
  readonly parameters: readonly ValueType[];
  /** Numbered on from the parameters. */
  readonly locals: readonly ValueType[];
  /** Leaves nothing on the stack. */
  readonly body: Code;
}

/** §5.4.7 and §5.4.8: opcodes without immediates, and of memory access (which a memory argument follows). */
const opcodes: Record<string, number> = {
  ...numbered('i32', 0x45, 'eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u'),
  ...numbered('i64', 0x50, 'eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u'),
  ...numbered('f32', 0x5b, 'eq ne lt gt le ge'),
  ...numbered('i32', 0x6a, 'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u'),
  ...numbered('i64', 0x7c, 'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u'),
  ...numbered('f32', 0x92, 'add sub mul div min max'),
  ...numbered('f64', 0xa0, 'add sub mul div min max'),
  select: 0x1b,
  ...numbered('i64', 0xac, 'extend_i32_s extend_i32_u'),
  'f32.demote_f64': 0xb6,
  'f64.promote_f32': 0xbb,
  ...numbered('f64', 0xb7, 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u'),
  ...numbered('', 0x28, 'i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u'),
  ...numbered('', 0x36, 'i32.store i64.store f32.store f64.store i32.store8 i32.store16'),
};

/** §5.4.7, saturating truncation: opcodes after the prefix 0xfc. */
const truncations: Record<string, number> = {
  'i32.trunc_sat_f64_s': 2,
  'i32.trunc_sat_f64_u': 3,
  'i64.trunc_sat_f64_s': 6,
  'i64.trunc_sat_f64_u': 7,
};

/** §5.4.8: opcodes after the prefix 0xfd. */
const vectorOpcodes: Record<string, number> = {
  'v128.load': 0,
  'v128.load8x8_s': 1,
  'v128.load16x4_u': 4,
  'v128.load32_splat': 9,
  'v128.store': 11,
  'i32x4.splat': 17,
  ...numbered('', 19, 'f32x4.splat f64x2.splat'),
  'i32x4.extract_lane': 27,
  'f32x4.extract_lane': 31,
  ...numbered('i32x4', 55, 'eq ne lt_s lt_u gt_s gt_u'),
  ...numbered('f32x4', 65, 'eq ne lt gt le ge'),
  ...numbered('v128', 77, 'not and andnot or xor bitselect'),
  'f64x2.promote_low_f32x4': 95,
  'i8x16.narrow_i16x8_s': 101,
  'f32x4.nearest': 106,
  'i8x16.add': 110,
  ...numbered('i8x16', 118, 'min_s min_u max_s max_u'),
  ...numbered('i16x8', 133, 'narrow_i32x4_s narrow_i32x4_u'),
  ...numbered('i16x8', 139, 'shl shr_s shr_u add'),
  'i16x8.mul': 149,
  ...numbered('i16x8', 150, 'min_s min_u max_s max_u'),
  ...numbered('i32x4', 167, 'extend_low_i16x8_s extend_high_i16x8_s'),
  ...numbered('i32x4', 171, 'shl shr_s shr_u add'),
  'i32x4.sub': 177,
  'i32x4.mul': 181,
  ...numbered('i32x4', 182, 'min_s min_u max_s max_u'),
  'i64x2.add': 206,
  'i64x2.mul': 213,
  ...numbered('i64x2', 216, 'lt_s gt_s'),
  'f32x4.abs': 224,
  'f32x4.sqrt': 227,
  ...numbered('f32x4', 228, 'add sub mul div min max'),
  ...numbered('f64x2', 240, 'add sub mul div min max'),
  'i32x4.trunc_sat_f32x4_s': 248,
  'f32x4.convert_i32x4_s': 250,
};

function numbered(prefix: string, first: number, names: string): Record<string, number> {
  return Object.fromEntries(names.split(' ').map((name, index) => [prefix ? `${prefix}.${name}` : name, first + index]));
}

/** The instruction of that name, without immediates. */
export function op(name: string): Code {
  if (name in opcodes) return [opcodes[name]];
  if (name in truncations) return [0xfc, unsigned(truncations[name])];
  if (name in vectorOpcodes) return [0xfd, unsigned(vectorOpcodes[name])];
  throw new BugError(`the WebAssembly emitter knows no instruction ${name}. Please report it.`);
}

/** A load or store at the address on the stack plus `offset` bytes; the alignment hint 0 promises nothing (§5.4.6). */
export const access = (name: string, offset = 0): Code => [op(name), 0, unsigned(offset)];
export const get = (local: number): Code => [0x20, unsigned(local)]; // §5.4.4
export const set = (local: number): Code => [0x21, unsigned(local)];
export const tee = (local: number): Code => [0x22, unsigned(local)];
export const i32Const = (value: number): Code => [0x41, signed(BigInt(value))]; // §5.4.7
export const i64Const = (value: bigint): Code => [0x42, signed(value)];
export const f32Const = (value: number): Code => [0x43, [...new Uint8Array(Float32Array.of(value).buffer)]];
export const f64Const = (value: number): Code => [0x44, [...new Uint8Array(Float64Array.of(value).buffer)]];
/** 16 bytes in which one byte pattern repeats. §5.4.8 */
export const v128Const = (...pattern: number[]): Code => [
  0xfd,
  12,
  Array.from({ length: 16 }, (_, index) => pattern[index % pattern.length]),
];
/** What takes a lane's number. §5.4.8 */
export const inLane = (name: string, lane: number): Code => [op(name), lane];
/** memory.copy: target, source and bytes are on the stack. §5.4.6 */
export const memoryCopy: Code = [0xfc, 10, 0, 0];

/** memory.fill: target, byte and bytes are on the stack. §5.4.6 */
export const memoryFill: Code = [0xfc, 11, 0];
/** Four 32-bit lanes of the two vectors on the stack, 0–3 of the first, 4–7 of the second. §5.4.8 */
export const shuffleLanes = (...lanes: [number, number, number, number]): Code => [
  0xfd,
  13,
  lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => lane * 4 + byte)),
];

/** While the condition holds (a code that leaves an i32): block, loop, leave if it is zero, body, again. §5.4.1 */
export const whileLoop = (condition: Code, body: Code): Code => [
  0x02,
  0x40,
  0x03,
  0x40,
  condition,
  op('i32.eqz'),
  0x0d,
  1,
  body,
  0x0c,
  0,
  0x0b,
  0x0b,
];

/** If the i32 on the stack is not zero. §5.4.1 */
export const ifThen = (body: Code): Code => [0x04, 0x40, body, 0x0b];

/** `local += amount`, for i32. */
export const increase = (local: number, amount: number): Code => [get(local), i32Const(amount), op('i32.add'), set(local)];
/** `local += other`, another local, for i32. */
export const increaseBy = (local: number, other: number): Code => [get(local), get(other), op('i32.add'), set(local)];

/** A function whose parameters and locals go by names: `body` gets their numbers. */
export function defineFunction<Parameter extends string, Local extends string>(
  name: string,
  parameters: Record<Parameter, ValueType>,
  locals: Record<Local, ValueType>,
  body: (numbers: Record<Parameter | Local, number>) => Code,
): FunctionSource {
  const names = [...Object.keys(parameters), ...Object.keys(locals)];
  const numbers = Object.fromEntries(names.map((each, index) => [each, index])) as Record<Parameter | Local, number>;
  return { name, parameters: Object.values(parameters), locals: Object.values(locals), body: body(numbers) };
}

/**
 * A module that imports `env.memory`, shared unless `isShared` is false, and exports every function under its name (§5.5). The import's limits fit every memory of that kind: an imported memory
 * may be longer than the least and must not be able to outgrow the most.
 */
export function emitModule(functions: readonly FunctionSource[], isShared = true): Uint8Array {
  const all = functions.map((source, index) => ({ ...source, index }));
  return Uint8Array.from(
    flatten([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // §5.5.16: magic, version
      section(1, vector(all.map(({ parameters }) => [0x60, vector(parameters.map(typeCode)), vector([])]))), // §5.5.4, one type a function
      section(2, vector([[name('env'), name('memory'), 0x02, isShared ? sharedMemory : plainMemory]])), // §5.5.5
      section(3, vector(all.map(({ index }) => unsigned(index)))), // §5.5.6
      section(7, vector(all.map((each) => [name(each.name), 0x00, unsigned(each.index)]))), // §5.5.10
      section(10, vector(all.map((each) => sized([vector(each.locals.map((type) => [1, typeCode(type)])), each.body, 0x0b])))), // §5.5.13
    ]),
  );
}

/** §5.3.8, with the threads proposal's flag 3 (shared, has a maximum): from 0 to 65536 pages. */
const sharedMemory: Code = [0x03, unsigned(0), unsigned(65536)];
/** From 0 pages, without a maximum. */
const plainMemory: Code = [0x00, unsigned(0)];
const typeCode = (type: ValueType): number => valueTypes[type];
const section = (id: number, content: Code): Code => [id, sized(content)];
const vector = (items: readonly (number | Code)[]): Code => [unsigned(items.length), items];
const name = (text: string): Code => vector([...Buffer.from(text)]);

function sized(content: Code): Code {
  const bytes = flatten(content);
  return [unsigned(bytes.length), bytes];
}

function flatten(code: Code, into: number[] = []): number[] {
  for (const item of code) {
    if (typeof item === 'number') into.push(item);
    else flatten(item, into);
  }
  return into;
}

/** LEB128, §5.2.2: seven bits a byte, least first, the high bit says that more follow. */
function unsigned(value: number): Code {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const low = rest & 0x7f;
    rest = Math.floor(rest / 128);
    bytes.push(rest ? low | 0x80 : low);
    if (!rest) return bytes;
  }
}

function signed(value: bigint): Code {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const done = rest === (low & 0x40 ? -1n : 0n);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}
