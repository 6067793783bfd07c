/** Undo and redo: states are never changed, only replaced. */

const MOST_STEPS = 500;

export class History<State> {
  #past: State[] = [];
  #future: State[] = [];

  constructor(private state: State) {}

  get now(): State {
    return this.state;
  }

  get canUndo(): boolean {
    return this.#past.length > 0;
  }

  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  /** Go on to a new state; what was undone is lost. */
  push(state: State): void {
    this.#past = [...this.#past, this.state].slice(-MOST_STEPS);
    this.#future = [];
    this.state = state;
  }

  /** Go back one state; false at the beginning. */
  undo(): boolean {
    const before = this.#past.pop();
    if (before === undefined) return false;
    this.#future.push(this.state);
    this.state = before;
    return true;
  }

  /** Go forward again; false at the end. */
  redo(): boolean {
    const after = this.#future.pop();
    if (after === undefined) return false;
    this.#past.push(this.state);
    this.state = after;
    return true;
  }
}
