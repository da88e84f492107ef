/**
 * A tf.Optimizer made from a rule: how one variable changes by one gradient. Main thread. What all rules share is here: which slots belong to which variable, the count of steps, saving, loading.
 *
 * Invariant: everything a step depends on is in the slots, in `step` and in the settings, and each is saved as it is; nothing is computed anew after loading but by the same float64 operations
 * in the same order. So training resumes to the bit. `iterations` is no count of steps: with backwardPassesPerStep it counts passes, of which some apply nothing.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../../errors';
import type { Tf } from '../load';
import { giveTo, setIterations } from '../optimizer_state';
import { variableNamed } from '../variables';

export type Settings = Record<string, number>;
export interface Rule<S extends Settings = Settings> {
  /** As saved models name it. */
  readonly className: string;
  /** What is kept for each variable, in its shape, from zeros on. */
  readonly slots: readonly string[];
  /** In the order of the factory's arguments; undefined: it has no default. */
  readonly defaults: { readonly [name in keyof S]: S[name] | undefined };
  /**
   * What is the same for all variables in step `t` (the first is 1). Runs once a step.
   * @returns how a variable changes: the new value, then the new slots. Runs in a tidy, for every variable that has a gradient.
   */
  prepare(tfjs: Tf, settings: S, t: number): (value: tf.Tensor, gradient: tf.Tensor, ...slots: tf.Tensor[]) => tf.Tensor[];
}

/** As tfjs has it, without exporting it. */
type NamedTensor = { name: string; tensor: tf.Tensor };
interface Slot {
  /** Of its variable when the slot was made; loaded models have other names. */
  readonly name: string;
  /** Undefined after loading, until the variable is seen. */
  owner?: tf.Variable;
  readonly parts: readonly tf.Variable[];
}
export type RuleOptimizer = new (settings: Partial<Settings>) => tf.Optimizer;
/** What optimizers made here have besides, for who keeps their state elsewhere for a while. Slots are by kind, then by variable. */
export interface SlotKeeper {
  /** Its own tensors; undefined: none yet. */
  heldFor(variables: readonly tf.Variable[]): { steps: number; slots: Array<Array<tf.Variable | undefined>> };
  /** As if it had stepped so often and come to these slots; the tensors become its. */
  adopt(variables: readonly tf.Variable[], steps: number, slots: ReadonlyArray<readonly tf.Tensor[]>): void;
}

const STEP = 'step';
const isFraction = (value: number): boolean => value >= 0 && value < 1;
const allowed: Record<string, [(value: number) => boolean, string]> = {
  learningRate: [(value) => value >= 0, 'a number >= 0'],
  beta1: [isFraction, 'a number >= 0 and < 1'],
  beta2: [isFraction, 'a number >= 0 and < 1'],
  momentum: [isFraction, 'a number >= 0 and < 1'],
  epsilon: [(value) => value >= 0, 'a number >= 0'],
  weightDecay: [(value) => value >= 0, 'a number >= 0'],
  trustCoefficient: [(value) => value > 0, 'a number > 0'],
};

/** With defaults. @throws UsageError one is wrong, or has no default and is not given */
function checkedSettings({ className, defaults }: Rule, given: Partial<Settings>): Settings {
  return Object.fromEntries(
    Object.entries(defaults).map(([name, standard]) => {
      const value = given[name] === undefined ? standard : given[name];
      const [isAllowed, text] = allowed[name]!;
      if (typeof value !== 'number' || !Number.isFinite(value) || !isAllowed(value))
        throw new UsageError(`${className}: ${name} is ${text}, but was ${String(value)}.`);
      return [name, value];
    }),
  );
}

/** Whether gradients by name find their slots whatever their order. */
export const findsSlotsByName = (optimizer: tf.Optimizer): boolean => (optimizer as { findsSlotsByName?: true }).findsSlotsByName === true;

export function optimizerClass(tfjs: Tf, rule: Rule): RuleOptimizer {
  const variableOf = (tensor: tf.Tensor): tf.Variable => tensor.variable(false);

  return class extends tfjs.Optimizer implements SlotKeeper {
    static get className(): string {
      return rule.className;
    }
    readonly findsSlotsByName = true;
    private slots: Slot[] = [];
    /** Steps that were applied. A variable, so that it is broadcast and saved with the slots; from the first step on. */
    private step?: tf.Variable;
    /** What `step` holds, read once for each tensor that it is given: reading costs a round trip on a GPU. */
    private counted: { count: number; dataId?: object } = { count: 0 };

    constructor(settings: Partial<Settings>) {
      super();
      // As properties, where callbacks find and change the learning rate.
      Object.assign(this, checkedSettings(rule, settings));
    }

    override applyGradients(gradients: tf.NamedTensorMap | NamedTensor[]): void {
      const isList = Array.isArray(gradients);
      const entries = isList ? gradients : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor }));
      const found = entries.flatMap(({ name, tensor }, position) => {
        const gradient = tensor as tf.Tensor | null | undefined;
        const variable = variableNamed(tfjs, name);
        // Ranks that know their variables by name go on naming one that was disposed of.
        if (!variable && !gradient) return [];
        if (!variable) throw new UsageError(`${rule.className}: there is no variable '${name}'. Was it disposed of?`);
        // One without gradient gets its slot too: all ranks then have the same ones.
        return [{ variable, gradient, parts: this.slotOf(variable, position, isList).parts }];
      });
      const t = this.countStep();
      const update = rule.prepare(tfjs, this.getConfig(), t);
      for (const { variable, gradient, parts } of found) {
        if (!gradient) continue;
        tfjs.tidy(() => {
          const values = update(variable, gradient, ...parts);
          for (const [i, target] of [variable, ...parts].entries()) target.assign(values[i]!);
        });
      }
      this.incrementIterations();
    }

    /**
     * A slot belongs to a variable, not to a place in the list: calls without a list have other variables each. Only a loaded slot is claimed by place (names differ then), where there are
     * names to go by, by name first.
     */
    private slotOf(variable: tf.Variable, position: number, isList: boolean): Slot {
      return this.findSlot(variable, position, isList) ?? this.addSlot(variable);
    }

    private findSlot(variable: tf.Variable, position: number, isList: boolean): Slot | undefined {
      const at = this.slots[position];
      const own = at?.owner === variable ? at : this.slots.find(({ owner }) => owner === variable);
      if (own) return own;
      const free = this.slots.filter(({ owner, parts }) => !owner && tfjs.util.arraysEqual(parts[0]!.shape, variable.shape));
      const slot = (isList ? undefined : free.find(({ name }) => name === variable.name)) ?? free.find((one) => one === at) ?? free[0];
      if (slot) slot.owner = variable;
      return slot;
    }

    private addSlot(variable: tf.Variable): Slot {
      // Of a model that was disposed of and built anew.
      for (const { owner, parts } of this.slots) if (owner?.isDisposed) tfjs.dispose([...parts]);
      this.slots = this.slots.filter(({ owner }) => !owner?.isDisposed);
      const slot: Slot = {
        name: variable.name,
        owner: variable,
        parts: rule.slots.map(() => tfjs.tidy(() => variableOf(tfjs.zerosLike(variable)))),
      };
      this.slots.push(slot);
      return slot;
    }

    private countStep(): number {
      const count = this.steps() + 1;
      this.setStep(count);
      return count;
    }

    private steps(): number {
      if (!this.step) this.counted = { count: 0 };
      else if (this.step.dataId !== this.counted.dataId) this.counted = { count: this.step.dataSync()[0]!, dataId: this.step.dataId };
      return this.counted.count;
    }

    private setStep(count: number): void {
      tfjs.tidy(() => {
        const next = tfjs.scalar(count, 'int32');
        if (this.step) this.step.assign(next);
        else this.step = variableOf(next);
      });
      this.counted = { count, dataId: this.step!.dataId };
    }

    heldFor(variables: readonly tf.Variable[]): ReturnType<SlotKeeper['heldFor']> {
      const found = variables.map((variable, position) => this.findSlot(variable, position, true));
      return { steps: this.steps(), slots: rule.slots.map((_, kind) => found.map((slot) => slot?.parts[kind])) };
    }

    adopt(variables: readonly tf.Variable[], steps: number, slots: ReadonlyArray<readonly tf.Tensor[]>): void {
      for (const [i, variable] of variables.entries())
        for (const [kind, part] of this.slotOf(variable, i, true).parts.entries()) giveTo(part, slots[kind]![i]!);
      this.setStep(steps);
      setIterations(this, steps);
    }

    override async getWeights(): Promise<NamedTensor[]> {
      const parts = rule.slots.flatMap((kind, i) => this.slots.map((slot) => ({ name: `${slot.name}/${kind}`, tensor: slot.parts[i]! })));
      return [await this.saveIterations(), ...(this.step ? [{ name: STEP, tensor: this.step }] : []), ...parts];
    }

    override async setWeights(weights: NamedTensor[]): Promise<void> {
      const [step, ...parts] = await this.extractIterations(weights);
      const kinds = rule.slots.length;
      const count = parts.length / kinds;
      if (step ? step.name !== STEP || !Number.isInteger(count) : weights.length !== 1)
        throw new UsageError(`${rule.className}: these weights are not what getWeights() of such an optimizer has given.`);
      const previous = [this.step, ...this.slots.flatMap((slot) => slot.parts)];
      this.step = step && variableOf(step.tensor);
      this.counted = { count: 0 };
      const nameOf = (name: string): string => name.slice(0, -`/${rule.slots[0]}`.length);
      this.slots = parts.slice(0, count).map(({ name }, i) => ({
        name: nameOf(name),
        parts: rule.slots.map((_, kind) => variableOf(parts[kind * count + i]!.tensor)),
      }));
      // Last: they may be what was given.
      for (const variable of previous) variable?.dispose();
    }

    override dispose(): void {
      tfjs.dispose(this.slots.flatMap(({ parts }) => [...parts]));
      this.slots = [];
      this.step?.dispose();
      this.step = undefined;
      this.counted = { count: 0 };
    }

    getConfig(): Settings {
      return Object.fromEntries(Object.keys(rule.defaults).map((name) => [name, (this as unknown as Settings)[name]!]));
    }
    static override fromConfig<T extends tf.serialization.Serializable>(
      cls: tf.serialization.SerializableConstructor<T>,
      config: tf.serialization.ConfigDict,
    ): T {
      return new cls(config);
    }
  } as unknown as RuleOptimizer;
}
