/** Pulling work through promises: order kept, memory bounded, nothing left running. */

/** Maps in order with at most `limit` results not yet taken; when the consumer stops, so does the source. */
export async function* mapConcurrent<T, R>(
  source: AsyncIterable<T> | Iterable<T>,
  limit: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const iterator =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const inFlight: Promise<R>[] = [];
  try {
    for (let done = false; ;) {
      while (!done && inFlight.length < limit) {
        const next = await iterator.next();
        if (next.done === true) {
          done = true;
          break;
        }
        const result = map(next.value);
        result.catch(() => undefined); // reported below, in order
        inFlight.push(result);
      }
      const first = inFlight.shift();
      if (first === undefined) return;
      yield await first;
    }
  } finally {
    await Promise.allSettled(inFlight);
    await iterator.return?.();
  }
}
