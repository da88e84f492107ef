/**
 * The update rules of parameter servers: how one element of a variable changes by its gradient, for each optimizer that servers know. Pure, any thread; update_source.ts makes kernels of them.
 *
 * They are TensorFlow.js's (4.22) with what mends.ts mends, and those of hvd.train: the same form of each (epsilon inside or outside of the root, the rate inside or outside of the momentum), so that
 * a model trains as it would by its optimizer itself. What depends on the step alone is computed in float64: Adam's powers of its betas are more precise than tfjs's, which multiplies them in
 * float32. A variable without gradient in a step is left alone, slots too, but the step counts.
 *
 * Another optimizer is one more entry of `rules`: its settings, its slots, the numbers of a step, the formulas.
 */
import { WireError } from '../errors';
import { abs, add, div, type Expression, max, mul, sqrt, square, sub } from './expression';
import { nadamWeights } from './nadam_schedule';

interface Types {
  number: number;
  boolean: boolean;
}
type Fields = Readonly<Record<string, keyof Types>>;
type SettingsOf<F extends Fields> = { readonly [name in keyof F]: Types[F[name]] };
/** The new value, then the new slots, which are given in the order of `slots`. */
type Formulas = (value: Expression, gradient: Expression, ...slots: Expression[]) => readonly Expression[];

export interface Rule<F extends Fields = Fields, Name extends string = string> {
  /** As the rule travels, but for the learning rate, which comes with each step. */
  readonly settings: F;
  /** Named as tfjs ends the names of its slots. */
  slots(settings: SettingsOf<F>): readonly string[];
  /** What every slot begins with. Default: 0. */
  initial?(settings: SettingsOf<F>): number;
  /** The numbers of step `t` (the first is 1), in float64; the kernel gets them as float32. */
  numbers(settings: SettingsOf<F>, rate: number, t: number): Readonly<Record<Name, number>>;
  /** `n`: those numbers. The settings are for what is a choice of formula, not a number. */
  formulas(n: Readonly<Record<Name, Expression>>, settings: SettingsOf<F>): Formulas;
}
const rule = <const F extends Fields, Name extends string>(one: Rule<F, Name>): Rule<F, Name> => one;

/** `old` and `next`, weighted: a moving average. */
const blend = (old: Expression, weight: Expression, next: Expression, rest: Expression): Expression =>
  add(mul(old, weight), mul(next, rest));

// ───────────────────────────── Adam and its kin ─────────────────────────────

const betas = { beta1: 'number', beta2: 'number', epsilon: 'number' } as const;
const moments = (): string[] => ['m', 'v'];
/** √v̂ = √(v · toCorrect2): what corrects the bias of v is a factor here, since divisions are slow. */
const momentNumbers = ({ beta1, beta2, epsilon }: SettingsOf<typeof betas>, t: number) => ({
  beta1,
  rest1: 1 - beta1,
  beta2,
  rest2: 1 - beta2,
  toCorrect2: 1 / (1 - beta2 ** t),
  epsilon,
});
type MomentNumbers = Record<keyof ReturnType<typeof momentNumbers>, Expression>;
const nextMoments = (n: MomentNumbers, gradient: Expression, m: Expression, v: Expression): [Expression, Expression] => [
  blend(m, n.beta1, gradient, n.rest1),
  blend(v, n.beta2, square(gradient), n.rest2),
];
const overRoot = (n: MomentNumbers, numerator: Expression, v: Expression): Expression =>
  div(numerator, add(sqrt(mul(v, n.toCorrect2)), n.epsilon));

// ───────────────────────────── the table ─────────────────────────────

/** tfjs's Adagrad has no epsilon of its own: that of its float32 backends. */
const ADAGRAD_EPSILON = 1e-7;

const rules = {
  sgd: rule({
    settings: {},
    slots: () => [],
    numbers: (_, rate) => ({ rate }),
    formulas: (n) => (value, gradient) => [sub(value, mul(gradient, n.rate))],
  }),

  momentum: rule({
    settings: { momentum: 'number', nesterov: 'boolean' },
    slots: () => ['momentum'],
    numbers: ({ momentum }, rate) => ({ momentum, rate }),
    formulas:
      (n, { nesterov }) =>
      (value, gradient, velocity) => {
        const next = add(mul(velocity, n.momentum), gradient);
        const direction = nesterov ? add(gradient, mul(next, n.momentum)) : next;
        return [sub(value, mul(direction, n.rate)), next];
      },
  }),

  rmsprop: rule({
    settings: { decay: 'number', momentum: 'number', epsilon: 'number', centered: 'boolean' },
    slots: ({ centered }) => ['rms', 'momentum', ...(centered ? ['mg'] : [])],
    numbers: ({ decay, momentum, epsilon }, rate) => ({ decay, rest: 1 - decay, momentum, epsilon, rate, zero: 0 }),
    formulas:
      (n, { centered }) =>
      (value, gradient, meanSquare, moment, mean) => {
        const nextSquare = blend(meanSquare, n.decay, square(gradient), n.rest);
        const nextMean = centered && blend(mean, n.decay, gradient, n.rest);
        // A difference that rounding can make negative.
        const variance = nextMean ? max(sub(nextSquare, square(nextMean)), n.zero) : nextSquare;
        const nextMoment = add(mul(moment, n.momentum), div(mul(gradient, n.rate), sqrt(add(variance, n.epsilon))));
        return [sub(value, nextMoment), nextSquare, nextMoment, ...(nextMean ? [nextMean] : [])];
      },
  }),

  adam: rule({
    settings: betas,
    slots: moments,
    numbers: (settings, rate, t) => ({ ...momentNumbers(settings, t), rate: rate / (1 - settings.beta1 ** t) }),
    formulas: (n) => (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(n, gradient, m, v);
      return [sub(value, mul(overRoot(n, nextM, nextV), n.rate)), nextM, nextV];
    },
  }),

  adagrad: rule({
    settings: { initialAccumulatorValue: 'number' },
    slots: () => ['accumulator'],
    initial: ({ initialAccumulatorValue }) => initialAccumulatorValue,
    numbers: (_, rate) => ({ rate, epsilon: ADAGRAD_EPSILON }),
    formulas: (n) => (value, gradient, sum) => {
      const next = add(sum, square(gradient));
      return [sub(value, mul(div(gradient, sqrt(add(next, n.epsilon))), n.rate)), next];
    },
  }),

  adadelta: rule({
    settings: { rho: 'number', epsilon: 'number' },
    slots: () => ['accum_grad', 'accum_var'],
    numbers: ({ rho, epsilon }, rate) => ({ rho, rest: 1 - rho, epsilon, rate }),
    formulas: (n) => (value, gradient, squares, updates) => {
      // As tfjs has it: under the root stands the mean of the squares before this gradient (the paper takes the one after).
      const update = mul(div(sqrt(add(updates, n.epsilon)), sqrt(add(squares, n.epsilon))), gradient);
      const average = (old: Expression, next: Expression) => blend(old, n.rho, square(next), n.rest);
      return [sub(value, mul(update, n.rate)), average(squares, gradient), average(updates, update)];
    },
  }),

  adamax: rule({
    settings: { ...betas, decay: 'number' },
    slots: moments,
    numbers: ({ beta1, beta2, epsilon, decay }, rate, t) => ({
      beta1,
      rest1: 1 - beta1,
      beta2,
      epsilon,
      rate: rate / ((1 + decay * (t - 1)) * (1 - beta1 ** t)),
    }),
    formulas: (n) => (value, gradient, m, norm) => {
      const nextM = blend(m, n.beta1, gradient, n.rest1);
      const nextNorm = max(mul(norm, n.beta2), abs(gradient));
      return [sub(value, mul(div(nextM, add(nextNorm, n.epsilon)), n.rate)), nextM, nextNorm];
    },
  }),

  nadam: rule({
    settings: betas,
    slots: moments,
    numbers: (settings, rate, t) => ({ ...momentNumbers(settings, t), ...nadamWeights(settings.beta1, t), rate }),
    formulas: (n) => (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(n, gradient, m, v);
      const direction = blend(nextM, n.ofMoment, gradient, n.ofGradient);
      return [sub(value, mul(overRoot(n, direction, nextV), n.rate)), nextM, nextV];
    },
  }),

  adamw: rule({
    settings: { ...betas, weightDecay: 'number' },
    slots: moments,
    numbers: (settings, rate, t) => ({
      ...momentNumbers(settings, t),
      rate: rate / (1 - settings.beta1 ** t),
      ofValue: rate * settings.weightDecay,
    }),
    formulas: (n) => (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(n, gradient, m, v);
      return [sub(value, add(mul(overRoot(n, nextM, nextV), n.rate), mul(value, n.ofValue))), nextM, nextV];
    },
  }),
};

// ───────────────────────────── what others see of it ─────────────────────────────

export type RuleKind = keyof typeof rules;
/** One object per optimizer, plain JSON: `kind` and the settings of that entry of the table. It travels to the servers. */
export type RuleSpec = { [Kind in RuleKind]: { readonly kind: Kind } & SettingsOf<(typeof rules)[Kind]['settings']> }[RuleKind];

/** The entry of the table. Settings are the spec's own, so that they fit. */
export const ruleFor = (spec: { readonly kind: RuleKind }): Rule => rules[spec.kind] as unknown as Rule;
const settingsOf = (spec: RuleSpec) => spec as unknown as SettingsOf<Fields>;

/** What a rule keeps for each element, in order, and what that begins with. */
export function slotsOf(spec: RuleSpec): ReadonlyArray<{ readonly name: string; readonly initial: number }> {
  const one = ruleFor(spec);
  const initial = one.initial?.(settingsOf(spec)) ?? 0;
  return one.slots(settingsOf(spec)).map((name) => ({ name, initial }));
}

/** @throws WireError what a peer sent is no rule of this version */
export function checkedRule(value: unknown): RuleSpec {
  const given: Readonly<Record<string, unknown>> = typeof value === 'object' && value !== null ? { ...value } : {};
  const { kind, ...settings } = given;
  if (typeof kind !== 'string' || !Object.hasOwn(rules, kind)) refuse(`is none of ${Object.keys(rules).join(', ')}`);
  const fields = ruleFor({ kind: kind as RuleKind }).settings;
  for (const [name, type] of Object.entries(fields)) {
    const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
    if (typeof setting !== type || (type === 'number' && !Number.isFinite(setting)))
      refuse(`'${kind}' has a wrong ${name}: ${type === 'number' ? 'a finite number' : 'true or false'} is asked for`);
  }
  const stranger = Object.keys(settings).find((name) => !Object.hasOwn(fields, name));
  if (stranger !== undefined) refuse(`'${kind}' has a setting too many`);
  return given as RuleSpec;
}

function refuse(how: string): never {
  throw new WireError(`The update rule of a worker ${how}. Install the same version of khorovod on every host.`);
}
