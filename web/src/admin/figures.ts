/** Figures for people. */

/** 1234567 as "1,234,567". */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Dollars, with cents below a thousand. */
export function dollars(value: number): string {
  const digits = value < 1000 ? 2 : 0;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** Hours as a duration: "45 min", "5 h 20 min", "3 days 4 h". */
export function duration(hours: number | null): string {
  if (hours === null) return "unknown";
  const minutes = Math.round(hours * 60);
  if (minutes < 1) return "< 1 min";
  if (minutes < 60) return `${minutes} min`;
  if (hours < 48) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const whole = Math.round(hours);
  return `${Math.floor(whole / 24)} days ${whole % 24} h`;
}

/** A share as "93 %". */
export function percent(share: number | null): string {
  return share === null ? "–" : `${Math.round(share * 100)} %`;
}

/** How long ago a moment was: "now", "5 min ago". */
export function ago(moment: string | null, now: Date): string {
  if (moment === null) return "never";
  const hours = (now.getTime() - new Date(moment).getTime()) / 3_600_000;
  return hours < 1 / 60 ? "now" : `${duration(hours)} ago`;
}
