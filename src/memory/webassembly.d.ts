/**
 * The part of the JavaScript interface of WebAssembly that this package uses: TypeScript ships these types only with the browser's (`dom`), which Node
 * programs must not see. Source: WebAssembly JavaScript Interface, §5.
 */
declare namespace WebAssembly {
  class Memory {
    /** `maximum` is in pages of 64 KiB. @throws RangeError the address space cannot be reserved */
    constructor(limits: { initial: number; maximum: number; shared: true });
    /** A new object after every growth; the old ones stay valid at their old length. */
    readonly buffer: ArrayBufferLike;
    /** @returns the size before, in pages. @throws RangeError beyond the maximum */
    grow(pages: number): number;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: Record<string, unknown>;
  }
}
