/** The part of snappyjs that we use; the package has no types. */
declare module 'snappyjs' {
  const snappy: { uncompress(compressed: Buffer, maxLength?: number): Buffer };
  export default snappy;
}
