/**
 * Tells when the gradient of each variable is final, while backpropagation still goes on, and gives memory back as it goes. Main thread.
 *
 * TensorFlow.js records the forward pass on a tape and walks it backwards when the loss is known; it has no hook in between. But the tape lies open until then
 * (`engine().state.activeTape`): in front of the first use of each variable an identity is put on it, and all uses read the identity. Walking backwards, the identity is reached when every use
 * has added its part, so what arrives there is the variable's gradient; it is passed on unchanged.
 * Invariants: values are those of the plain tape, bit for bit; nothing of TensorFlow.js is replaced; a variable that the loss does not depend on is never told.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import type { Tf } from './load';

/** What the tape's walk needs of a tensor that it never computes with. */
type TensorId = Pick<tf.Tensor, 'id' | 'shape' | 'dtype' | 'size'>;
interface TapeNode {
  readonly id: number;
  readonly kernelName: string;
  inputs: Record<string, TensorId>;
  readonly outputs: readonly TensorId[];
  readonly saved: readonly tf.Tensor[];
  gradient?: (dys: readonly tf.Tensor[]) => Record<string, () => tf.Tensor>;
}
interface EngineState {
  activeTape: TapeNode[] | null;
  gradientDepth: number;
  /** Tensors are numbered as they are made. */
  readonly nextTensorId: number;
}
/** What `tf.keep` marks. */
type Kept = tf.Tensor & { readonly kept?: boolean };

/**
 * The function to differentiate in place of `f`. Inside other gradients (of gradients) it is `f` itself: what is final there is not known before the outermost is.
 * @param variables whose gradients are wanted
 * @param onFinal called during backpropagation, last used first, with the variable's index and its gradient, which belongs to the tape: copy or clone what is kept
 */
export function watched<Y extends tf.Tensor>(
  tfjs: Tf,
  f: () => Y,
  variables: readonly tf.Variable[],
  onFinal: (index: number, gradient: tf.Tensor) => void,
): () => Y {
  const { state } = tfjs.engine() as unknown as { state: EngineState };
  return () => {
    const loss = f();
    const tape = state.activeTape;
    if (tape && state.gradientDepth === 1) state.activeTape = withIdentities(tape, variables, onFinal);
    return loss;
  };
}

function withIdentities(
  tape: readonly TapeNode[],
  variables: readonly tf.Variable[],
  onFinal: (index: number, gradient: tf.Tensor) => void,
): TapeNode[] {
  const indices = new Map(variables.map(({ id }, index) => [id, index]));
  const standIns = new Map<number, TensorId>();
  const result: TapeNode[] = [];
  for (const node of tape) {
    for (const [name, input] of Object.entries(node.inputs)) {
      const index = indices.get(input.id);
      if (index === undefined) continue;
      let standIn = standIns.get(index);
      if (!standIn) {
        const variable = variables[index]!;
        // Ids below zero are nobody's.
        standIn = { id: -variable.id - 1, shape: variable.shape, dtype: variable.dtype, size: variable.size };
        standIns.set(index, standIn);
        result.push({
          id: standIn.id,
          kernelName: 'GradientIsFinal',
          inputs: { x: variable },
          outputs: [standIn],
          saved: [],
          gradient: ([gradient]) => {
            onFinal(index, gradient!);
            return { x: () => gradient!.clone() };
          },
        });
      }
      // A node's inputs may be the caller's own object.
      node.inputs = { ...node.inputs, [name]: standIn };
    }
    result.push(node);
  }
  return result;
}

/**
 * The function to differentiate in place of `f`: what a node of the tape has kept for its gradient, and the gradients that arrive at it, are given back when the walk has left it. TensorFlow.js keeps
 * all of both until the walk is over, twice what the forward pass made. Inside other gradients it is `f` itself: the outer ones go over the same nodes again.
 */
export function releasing<Y extends tf.Tensor>(tfjs: Tf, f: () => Y): () => Y {
  const { state } = tfjs.engine() as unknown as { state: EngineState };
  return () => {
    const loss = f();
    if (!state.activeTape || state.gradientDepth !== 1) return loss;
    const { nextTensorId: firstOfWalk } = state;
    /** Of the node that the walk was at last. */
    let left: tf.Tensor[] = [];
    const seen = new Set<tf.Tensor>();
    /** What a gradient has passed on as it is, or given to several inputs: others still need it. */
    const passedOn = new Set<tf.Tensor>();
    for (const node of state.activeTape) {
      const { gradient, saved } = node;
      if (!gradient) continue;
      node.gradient = (dys) => {
        for (const tensor of left) if (!passedOn.has(tensor)) tensor.dispose();
        // As tidy does: what others have made, or keep, is theirs. Of an output that nothing depends on there is no gradient.
        left = [...dys.filter((dy) => dy && dy.id >= firstOfWalk && !(dy as Kept).kept), ...saved];
        for (const tensor of left) seen.add(tensor);
        const gradients = gradient(dys);
        return Object.fromEntries(
          Object.entries(gradients).map(([name, compute]) => {
            const computed = (): tf.Tensor => {
              const result = compute();
              if (seen.has(result)) passedOn.add(result);
              seen.add(result);
              return result;
            };
            return [name, computed];
          }),
        );
      };
    }
    return loss;
  };
}

/** What tf.variableGrads says of it; here only when it is true of all ranks. */
export const NO_CONNECTION =
  'The loss reaches none of the variables, on any rank. The operations that use variables must be inside the function that is given to minimize() or variableGrads().';

/**
 * `tf.variableGrads` (4.22) without its demand that the loss reach a variable: a rank may have a batch that does not.
 * @throws UsageError the loss is no scalar, or no variable is trainable
 */
export function localGradients(
  tfjs: Tf,
  f: () => tf.Scalar,
  list?: readonly tf.Variable[],
): { value: tf.Scalar; grads: Record<string, tf.Tensor> } {
  const all = list ?? Object.values(tfjs.engine().registeredVariables);
  const trainable = all.filter((variable) => variable.trainable);
  if (trainable.length === 0)
    throw new UsageError(`None of the ${all.length} variables is trainable: there is nothing to differentiate for.`);
  const { value, grads } = tfjs.engine().gradients(releasing(tfjs, f), trainable, undefined, true);
  if (value.rank !== 0) {
    tfjs.dispose([value, ...grads]);
    throw new UsageError(`The loss is a scalar, but the function returned a tensor of rank ${value.rank}. Take its mean or sum.`);
  }
  const named: Record<string, tf.Tensor> = {};
  for (const [i, { name }] of trainable.entries()) if (grads[i]) named[name] = grads[i]!;
  return { value: value as tf.Scalar, grads: named };
}
