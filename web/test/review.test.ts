import { describe, expect, it, vi } from "vitest";
import { type Answer, Outbox, type Saved } from "../src/review/outbox";
import { Task, type TaskView } from "../src/review/task";
import { turkVisit } from "../src/review/turk";
import { Offline, Refusal } from "../src/shared/api";
import type { Box } from "../src/shared/boxes";
import { MemoryStorage } from "./storage";

const box: Box = { x0: 1, y0: 2, x1: 30, y1: 40, label: "face" };
const saved: Saved = { version: 1, attempt: 1, lives: 2, restarted: false, truth: null };

function answer(position: number, key = `key-${position}`): Answer {
  return { task: 7, position, attempt: 1, key, seconds: 1, boxes: [box], madeAt: position };
}

function outbox(storage: Storage, replies: (Saved | Error)[]) {
  const sent: string[] = [];
  const told: [string, unknown][] = [];
  const waits: number[] = [];
  const made = new Outbox(storage, {
    send: async ({ key }) => {
      sent.push(key);
      const reply = replies.shift() ?? saved;
      if (reply instanceof Error) throw reply;
      return reply;
    },
    pause: async (ms) => void waits.push(ms),
    onreply: ({ key }, reply) => told.push([key, reply]),
    onchange: () => {},
  });
  return { made, sent, told, waits };
}

describe("outbox", () => {
  it("sends again, in order, what the network or a busy server has lost", async () => {
    const busy = new Refusal(429, "slow_down", "too many requests", 3);
    const { made, sent, told, waits } = outbox(new MemoryStorage(), [new Offline(), busy]);
    made.add(answer(0));
    made.add(answer(1));
    await vi.waitFor(() => expect(told).toHaveLength(2));
    expect(sent).toEqual(["key-0", "key-0", "key-0", "key-1"]);
    expect(waits).toEqual([500, 3000]);
    expect(made.waiting).toEqual([]);
  });
  it("keeps what was not sent over a reload, each once", async () => {
    const storage = new MemoryStorage();
    const before = outbox(storage, []);
    before.made.add(answer(0)); // the page is left before there is a reply
    before.made.add(answer(1));
    const { made, sent, told } = outbox(storage, []);
    expect(made.resume(8)).toEqual([]);
    expect(made.resume(7).map(({ key }) => key)).toEqual(["key-0", "key-1"]);
    made.resume(7);
    await vi.waitFor(() => expect(told).toHaveLength(2));
    expect(sent).toEqual(["key-0", "key-1"]);
    expect(storage.length).toBe(0);
  });
  it("gives up what is refused, and goes on with the rest", async () => {
    const storage = new MemoryStorage();
    const { made, told } = outbox(storage, [new Refusal(422, "invalid", "boxes", 0)]);
    made.add(answer(0));
    made.add(answer(1));
    await vi.waitFor(() => expect(told).toHaveLength(2));
    expect(told.map(([, reply]) => reply instanceof Refusal)).toEqual([true, false]);
    expect(storage.length).toBe(0);
  });
  it("works where the browser keeps nothing", async () => {
    const storage = new MemoryStorage();
    storage.setItem = () => {
      throw new Error("full");
    };
    const { made, told } = outbox(storage, [new Offline()]);
    made.add(answer(0));
    await vi.waitFor(() => expect(told).toHaveLength(1));
  });
});

describe("task", () => {
  const image = { width: 100, height: 100, boxes: [box], version: 0, truth: null, url: "/api/images/image/1" };
  const view: TaskView = {
    id: 7,
    state: "open",
    attempt: 1,
    lives: 2,
    expires_at: "",
    images: [0, 1, 2].map((position) => ({ ...image, position, version: position === 0 ? 1 : 0 })),
  };
  it("begins at the first image without an answer", () => {
    expect(new Task(view, [], new MemoryStorage()).at).toBe(1);
  });
  it("comes back after a reload as it was left", () => {
    const storage = new MemoryStorage();
    const before = new Task(view, [], storage);
    before.goTo(2);
    before.draw([]);
    const after = new Task(view, [answer(1)], storage);
    expect([after.at, after.page().boxes, after.isDrafted(), after.answeredCount]).toEqual([2, [], true, 2]);
    expect(after.answer(2, "key", 0).boxes).toEqual([]);
    expect([after.isDrafted(), after.isComplete, after.isChanged()]).toEqual([false, true, false]);
  });
  it("brings nothing into the next attempt", () => {
    const storage = new MemoryStorage();
    new Task(view, [], storage).draw([]);
    const next = { ...view, attempt: 2, images: view.images.map((each) => ({ ...each, version: 0 })) };
    const again = new Task(next, [answer(0)], storage);
    expect([again.at, again.answeredCount, again.page(1).boxes]).toEqual([0, 0, [box]]);
  });
  it("survives what somebody wrote into the storage", () => {
    const storage = new MemoryStorage();
    storage.setItem("unface.draft.7.1.1", "{");
    storage.setItem("unface.at.7.1", "NaN");
    expect(new Task(view, [], storage).at).toBe(0);
  });
});

describe("Mechanical Turk", () => {
  it("is told by the address", () => {
    expect(turkVisit("")).toBeNull();
    expect(turkVisit("?hit=1-2")?.isPreview).toBe(true);
    expect(turkVisit("?hit=1-2&assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE")?.isPreview).toBe(true);
    const visit = turkVisit("?hit=1-2&assignmentId=A1&workerId=W1&turkSubmitTo=https%3A%2F%2Fworkersandbox.mturk.com");
    expect(visit).toMatchObject({ isPreview: false, workerId: "W1", submitTo: "https://workersandbox.mturk.com" });
  });
});
