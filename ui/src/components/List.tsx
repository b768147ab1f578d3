import { useVirtualizer } from '@tanstack/react-virtual'
import { type CSSProperties, memo, type ReactNode, useEffect, useRef } from 'react'

export interface Column<T> {
  key: string
  title: string
  /** A track of CSS's grid; `1fr` where it is left out. */
  width?: string
  cell: (row: T) => ReactNode
}

interface Props<T> {
  label: string
  columns: Column<T>[]
  rows: T[]
  rowKey: (row: T) => string
  empty: ReactNode
  short?: boolean
  /** Called as the last row comes near. */
  onEnd?: () => void
}

interface RowProps {
  row: unknown
  columns: Column<unknown>[]
  index: number
  /** Where it begins, in pixels from the first. */
  start: number
  measure: (element: Element | null) => void
}

/** While one scrolls, rows that stay are left as they are. */
const Row = memo(function Row({ row, columns, index, start, measure }: RowProps) {
  return (
    <div ref={measure} data-index={index} role="row" aria-rowindex={index + 2} className="row" style={{ transform: `translateY(${start}px)` }}>
      {columns.map((column) => (
        <div key={column.key} role="cell">
          <span className="label" aria-hidden="true">
            {column.title}
          </span>
          <span>{column.cell(row)}</span>
        </div>
      ))}
    </div>
  )
})

/** A table that draws only the rows in sight, so that ten thousand scroll as ten do. In a narrow place each row is a card. */
export function List<T>({ label, columns, rows, rowKey, empty, short, onEnd }: Props<T>) {
  const box = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => 36,
    overscan: 12,
    getItemKey: (at) => rowKey(rows[at] as T),
  })
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  useEffect(() => {
    if (rows.length > 0 && last >= rows.length - 20) onEnd?.()
  }, [last, rows.length, onEnd])
  if (rows.length === 0) return <div role="status">{empty}</div>
  const tracks = { '--columns': columns.map((column) => column.width ?? 'minmax(0, 1fr)').join(' ') } as CSSProperties
  return (
    <div className="list">
      {/* Focusable, so that the keyboard scrolls it. */}
      <div ref={box} className={short ? 'rows short' : 'rows'} tabIndex={0} role="table" aria-label={label} aria-rowcount={rows.length + 1} style={tracks}>
        <div role="rowgroup">
          <div role="row" aria-rowindex={1} className="head">
            {columns.map((column) => (
              <div key={column.key} role="columnheader">
                {column.title}
              </div>
            ))}
          </div>
        </div>
        <div role="rowgroup" className="space" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => (
            <Row key={item.key} row={rows[item.index] as T} columns={columns as Column<unknown>[]} index={item.index} start={item.start} measure={virtual.measureElement} />
          ))}
        </div>
      </div>
    </div>
  )
}
