/** Numbers and times in words. `locale` is a BCP 47 tag. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** `1536` → `1.5 KiB`. */
export function bytes(value: number): string {
  let at = 0
  let rest = value
  while (rest >= 1024 && at < UNITS.length - 1) {
    rest /= 1024
    at += 1
  }
  return `${rest < 10 && at > 0 ? rest.toFixed(1) : Math.round(rest)} ${UNITS[at]}`
}

/** `12345` → `12,345`; below ten with one decimal, as rates need it. */
export const count = (value: number, locale = 'en') =>
  new Intl.NumberFormat(locale, { maximumFractionDigits: Math.abs(value) < 10 ? 1 : 0 }).format(value)

/** How long ago, in its largest unit: `3 s`, `5 min`, `2 h`, `4 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/** A moment of today as its time, another with its date, both in the browser's zone. */
export function moment(rfc3339: string, now = new Date(), locale = 'en-GB'): string {
  const date = new Date(rfc3339)
  const time = date.toLocaleTimeString(locale, { hour12: false })
  return date.toDateString() === now.toDateString() ? time : `${date.toLocaleDateString('sv')} ${time}`
}

/** A node's capacity is told in quarter octaves: 4 more is twice as much. Against `usual`, as a factor. */
export const factor = (capacity: number, usual: number) => 2 ** ((capacity - usual) / 4)

/** Seconds since 1970 as the time of the day, in the browser's zone. */
export function clock(at: number, withSeconds: boolean): string {
  const date = new Date(at * 1000)
  const parts = [date.getHours(), date.getMinutes(), ...(withSeconds ? [date.getSeconds()] : [])]
  return parts.map((part) => String(part).padStart(2, '0')).join(':')
}
