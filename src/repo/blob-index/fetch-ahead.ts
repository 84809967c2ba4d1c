/** Runs a few requests ahead of the one whose answer is being used, bounded by count and by bytes. */

const inFlightMax = 4;
const inFlightBytesMax = 16 * 1024 * 1024;

/** Answers in order; when the consumer stops, what is in flight is waited for and dropped. */
export async function* fetchAhead<T extends { readonly size: number }, R>(
  items: readonly T[],
  fetch: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const inFlight: { answer: Promise<R>; size: number }[] = [];
  let bytes = 0;
  let next = 0;
  try {
    while (next < items.length || inFlight.length > 0) {
      while (next < items.length && inFlight.length < inFlightMax) {
        const { size } = items[next]!;
        if (inFlight.length > 0 && bytes + size > inFlightBytesMax) break;
        const answer = fetch(items[next++]!);
        answer.catch(() => undefined); // reported below, in order
        inFlight.push({ answer, size });
        bytes += size;
      }
      const first = inFlight.shift()!;
      yield await first.answer;
      bytes -= first.size;
    }
  } finally {
    await Promise.allSettled(inFlight.map(({ answer }) => answer));
  }
}
