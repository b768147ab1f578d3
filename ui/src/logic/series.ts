import type { Point, SeriesView } from '../api/client'

/** One measure of a past, as a chart takes it: seconds since 1970, and values. It begins where something was known first. */
export function line(past: SeriesView | null, measure: keyof Point): [number[], (number | null)[]] {
  if (!past) return [[], []]
  const last = Date.parse(past.last) / 1000
  const times = past.points.map((_, at) => last - (past.points.length - 1 - at) * past.step_s)
  const values = past.points.map((point) => point?.[measure] ?? null)
  const first = Math.max(0, values.findIndex((value) => value !== null))
  return [times.slice(first), values.slice(first)]
}

/** An SVG path over `values`, from 0 at the bottom; a gap where nothing is known. Empty: there are not two of them. */
export function path(values: (number | null)[], width: number, height: number): string {
  if (values.filter((value) => value !== null).length < 2) return ''
  const most = Math.max(1, ...values.map((value) => value ?? 0))
  const across = width / (values.length - 1)
  const parts = values.map((value, at) => {
    if (value === null) return ''
    const isFirst = at === 0 || values[at - 1] === null
    return `${isFirst ? 'M' : 'L'}${(at * across).toFixed(1)} ${(height - (value / most) * height + 1).toFixed(1)}`
  })
  return parts.join('')
}
