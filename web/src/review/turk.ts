/** Inside Mechanical Turk: its frame names the HIT, the assignment and the worker in the address. */

import { ask, useToken } from "../shared/api";

export interface TurkVisit {
  readonly hit: string;
  readonly assignmentId: string;
  readonly workerId: string;
  readonly submitTo: string;
  /** Whether the worker only looks, and has not accepted the HIT. */
  readonly isPreview: boolean;
}

const PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE";

/** What the address says; null outside Mechanical Turk. */
export function turkVisit(search: string): TurkVisit | null {
  const said = new URLSearchParams(search);
  const hit = said.get("hit");
  if (!hit) return null;
  const assignmentId = said.get("assignmentId") ?? PREVIEW;
  return {
    hit,
    assignmentId,
    workerId: said.get("workerId") ?? "",
    submitTo: said.get("turkSubmitTo") ?? "",
    isPreview: assignmentId === PREVIEW,
  };
}

/** Come in; the `id` of the worker's task. */
export async function enterFromTurk(visit: TurkVisit): Promise<number> {
  const { token, task } = await ask<{ token: string; task: number }>("POST", "/api/mturk/enter", {
    hit: visit.hit,
    assignment_id: visit.assignmentId,
    worker_id: visit.workerId,
  });
  useToken(token);
  return task;
}

/** Tell Mechanical Turk that the work is handed in; the server lets forms go nowhere else. */
export function submitToTurk(visit: TurkVisit): void {
  const form = document.createElement("form");
  form.method = "POST";
  form.action = `${visit.submitTo}/mturk/externalSubmit`;
  for (const [name, value] of [
    ["assignmentId", visit.assignmentId],
    ["state", "submitted"],
  ] as const) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}
