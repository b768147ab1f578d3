import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { clock } from '../logic/format'
import { useWords } from './words'

const HEIGHT = 160
/** Where nothing passes, the axis still has steps that differ. */
const LEAST = 4

/** One line over time; drag to zoom, double click to see all. `points`: seconds since 1970, and values; null where nothing was measured. */
export function Chart({ points, label, format }: { points: [number[], (number | null)[]]; label: string; format: (value: number) => string }) {
  const { t } = useWords()
  const time = t('time')
  const box = useRef<HTMLDivElement>(null)
  // The canvas takes its colours once: another scheme is another chart.
  const scheme = useComputedColorScheme()
  const plot = useRef<uPlot>(undefined)
  const isZoomed = useRef(false)
  useEffect(() => {
    const host = box.current
    if (!host) return
    const colour = getComputedStyle(host)
    const ink = { stroke: colour.getPropertyValue('--mantine-color-dimmed'), grid: { stroke: colour.getPropertyValue('--line'), width: 1 }, ticks: { show: false } }
    const line = colour.getPropertyValue('--bar')
    const chart = new uPlot(
      {
        width: host.clientWidth,
        height: HEIGHT,
        axes: [
          { ...ink, space: 70, size: 28, values: (_, splits, __, ___, apart) => splits.map((at) => clock(at, apart < 60)) },
          { ...ink, size: 86, values: (_, values) => values.map(format) },
        ],
        series: [
          { label: time, value: (_, at) => (at == null ? '–' : clock(at, true)) },
          { label, stroke: line, width: 2, fill: `${line}22`, points: { show: false }, value: (_, value) => (value == null ? '–' : format(value)) },
        ],
        cursor: { y: false, points: { size: 7 } },
        scales: { y: { range: (_, __, most) => [0, Math.max(LEAST, most * 1.1)] } },
        hooks: { setSelect: [(chart) => (isZoomed.current = isZoomed.current || chart.select.width > 0)] },
      },
      points,
      host,
    )
    plot.current = chart
    isZoomed.current = false
    const unzoomed = () => (isZoomed.current = false)
    host.addEventListener('dblclick', unzoomed)
    const resized = new ResizeObserver(() => chart.setSize({ width: host.clientWidth, height: HEIGHT }))
    resized.observe(host)
    return () => {
      host.removeEventListener('dblclick', unzoomed)
      resized.disconnect()
      chart.destroy()
    }
  }, [label, format, scheme, time])
  useEffect(() => {
    // What is zoomed stays so while new points come.
    plot.current?.setData(points, !isZoomed.current)
    if (isZoomed.current) plot.current?.redraw()
  }, [points])
  const known = points[1].filter((value) => value !== null)
  const last = known.at(-1)
  const told = last === undefined ? '–' : t('chart_told', { label, last: format(last), least: format(Math.min(...known)), most: format(Math.max(...known)) })
  return <div ref={box} className="chart" role="img" aria-label={told} />
}
