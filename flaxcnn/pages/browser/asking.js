// One question at a time: a network that answers while somebody draws.

/** Return what calls `work(asked)` for one thing after the other: of those that are asked meanwhile, the last alone. */
export function oneAtATime(work, say) {
  let waiting = null, busy = false;
  const ask = async (asked) => {
    waiting = { asked };
    if (busy) return;
    busy = true;
    while (waiting) {
      const now = waiting.asked;
      waiting = null;
      try {
        await work(now);
        say("");
      } catch (error) { say(error.message); }
    }
    busy = false;
  };
  ask.busy = () => busy;
  return ask;
}
