import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

/** One line over time; drag to zoom. `points`: seconds since 1970, and values. */
export function Chart({ points, label, format }: { points: [number[], number[]]; label: string; format: (value: number) => string }) {
  const box = useRef<HTMLDivElement>(null)
  // The canvas takes its colours once: another scheme is another chart.
  const scheme = useComputedColorScheme()
  const plot = useRef<uPlot>(undefined)
  useEffect(() => {
    const host = box.current
    if (!host) return
    const colour = getComputedStyle(host)
    const ink = { stroke: colour.getPropertyValue('--mantine-color-dimmed'), grid: { stroke: colour.getPropertyValue('--line'), width: 1 } }
    const line = colour.getPropertyValue('--bar')
    plot.current = new uPlot(
      {
        width: host.clientWidth,
        height: 150,
        legend: { show: false },
        axes: [ink, { ...ink, size: 80, values: (_, values) => values.map(format) }],
        series: [{}, { label, stroke: line, width: 2, fill: `${line}22` }],
        scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      },
      points,
      host,
    )
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: host.clientWidth, height: 150 }))
    resized.observe(host)
    return () => {
      resized.disconnect()
      plot.current?.destroy()
    }
  }, [label, format, scheme])
  useEffect(() => plot.current?.setData(points), [points])
  const last = points[1].at(-1)
  return <div ref={box} role="img" aria-label={`${label}: ${last === undefined ? '–' : format(last)}`} />
}
