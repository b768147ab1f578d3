import { Alert, Button, type ButtonProps, Group, Loader, Modal, Stack, Text, TextInput, Tooltip } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import type { QueuePreview, RewindPreview, TargetRow, Written } from '../api/client'
import { operation, self } from '../api/queries'
import { bytes, count } from '../logic/format'
import { Go } from './Go'
import { List } from './List'
import { Trouble } from './Remote'
import { Status } from './Status'
import { useWords } from './words'

/** What is said with a deed. `expected` makes it fail where it concerns more or fewer nodes by then than when it was shown. */
export interface Said {
  dry_run: boolean
  reason?: string
  expected?: number
}

export interface Deed {
  title: string
  /** What comes of it, and what is lost. */
  loses: string
  danger?: boolean
  /** Where it concerns a selection of nodes: that one. */
  selection?: string
  run: (said: Said) => Promise<Written>
}

/** A button that tells why it does nothing, where it may not. It keeps the focus, so that the keyboard finds the reason too. `label`: what it is called where its text says too little. */
export function Barred({ barred, label, onClick, children, ...rest }: ButtonProps & { barred?: string; label?: string; onClick?: () => void }) {
  return (
    <Tooltip label={barred} disabled={!barred} events={{ hover: true, focus: true, touch: true }} multiline maw={280}>
      <Button
        size="compact-sm"
        variant="default"
        {...rest}
        aria-disabled={barred ? true : undefined}
        data-disabled={barred ? true : undefined}
        aria-description={barred}
        aria-label={label}
        onClick={(event) => (barred ? event.preventDefault() : onClick?.())}
      >
        {children}
      </Button>
    </Tooltip>
  )
}

/** Why the caller may change nothing; undefined where it may. */
export function useRoleBar(): string | undefined {
  const { t } = useWords()
  const role = useQuery(self).data?.role
  return role === 'view' ? t('role_barred', { role }) : undefined
}

/** Targets with what became of the deed on each. */
export function Targets({ rows }: { rows: TargetRow[] }) {
  const { t, told } = useWords()
  const sorted = [...rows].sort((a, b) => a.node_name.localeCompare(b.node_name))
  // Before the deed there is nothing to tell of each, save where one is special.
  if (sorted.length > 0 && sorted.every((row) => row.state === 'would be' && !row.reason))
    return <ul className="names" aria-label={t('targets')} tabIndex={0}>{sorted.map((row) => <li key={row.node}>{row.node_name}</li>)}</ul>
  return (
    <List
      label={t('targets')}
      short
      rows={sorted}
      rowKey={(row) => row.node}
      empty={t('no_targets')}
      columns={[
        { key: 'node', title: t('node'), cell: (row) => row.node_name },
        { key: 'state', title: t('outcome'), width: '9em', cell: (row) => <Status word={row.state} /> },
        { key: 'reason', title: t('why'), width: '2fr', cell: (row) => told(row.reason ?? '') },
      ]}
    />
  )
}

/** Asks before a deed: whom it concerns, by a dry run; what is lost; then what became of it, target by target. */
export function Act({ deed, onClose }: { deed: Deed | undefined; onClose: () => void }) {
  const { t } = useWords()
  return (
    <Modal opened={deed !== undefined} onClose={onClose} title={deed?.title} size="lg" closeButtonProps={{ 'aria-label': t('close') }}>
      {deed && <Asking deed={deed} onClose={onClose} />}
    </Modal>
  )
}

function Asking({ deed, onClose }: { deed: Deed; onClose: () => void }) {
  const { t, language } = useWords()
  const client = useQueryClient()
  const [reason, setReason] = useState('')
  const [typed, setTyped] = useState('')
  const [wrong, setWrong] = useState(false)
  const looked = useQuery({
    queryKey: ['dry run', deed.title],
    queryFn: async () => {
      const written = await deed.run({ dry_run: true })
      return { ...written, expected: deed.selection === undefined ? undefined : written.targets.length }
    },
    gcTime: 0,
    retry: false,
  })
  const done = useMutation({
    mutationFn: (expected: number | undefined) => deed.run({ dry_run: false, reason: reason || undefined, expected }),
    onSettled: () => client.invalidateQueries(),
  })
  if (done.data) return <Outcome written={done.data} onClose={onClose} />
  if (looked.error) return <Trouble error={looked.error} retry={() => looked.refetch()} />
  if (!looked.data)
    return (
      <Group role="status">
        <Loader size="sm" /> <Text size="sm">{t('looking')}</Text>
      </Group>
    )
  const { targets, rewind, counters, queue, expected } = looked.data
  // What a deed is large by: sources where they are read again, else nodes.
  const size = rewind ? rewind.sources_total : targets.length
  const isBulk = size > 1
  const go = () => {
    if (isBulk && typed.trim() !== String(size)) return setWrong(true)
    done.mutate(expected)
  }
  return (
    <form onSubmit={(event) => (event.preventDefault(), go())}>
      <Stack gap="sm">
        <Alert color={deed.danger ? 'red' : 'gray'} variant="outline">
          <Text size="sm">{deed.loses}</Text>
        </Alert>
        <Text fw={600}>{t('resolved', { n: targets.length })}</Text>
        <Targets rows={targets} />
        {rewind && <Again preview={rewind} />}
        {queue && <Dropped preview={queue} />}
        {counters && (
          <Text size="sm">
            {t('cleared', { records: count(counters.records, language), errors: count(counters.errors, language), dead: count(counters.dead_lettered, language) })}
          </Text>
        )}
        {looked.data.plan && <Text size="sm">{t('plan_moves', { n: looked.data.plan.moves_total })}</Text>}
        <TextInput label={t('reason')} description={t('reason_help')} value={reason} onChange={(event) => setReason(event.currentTarget.value)} maxLength={500} />
        {isBulk && (
          <TextInput
            label={t('type_count', { n: size })}
            inputMode="numeric"
            value={typed}
            error={wrong && t('type_count_wrong', { n: size })}
            onChange={(event) => (setTyped(event.currentTarget.value), setWrong(false))}
          />
        )}
        {done.error && <Trouble error={done.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t('cancel')}
          </Button>
          <Button type="submit" color={deed.danger ? 'red.9' : undefined} loading={done.isPending}>
            {deed.title}
          </Button>
        </Group>
      </Stack>
    </form>
  )
}

/** What a rewind has read and sent again, by source; and whose part is not known. */
function Again({ preview }: { preview: RewindPreview }) {
  const { t, language } = useWords()
  return (
    <Stack gap="xs">
      <Text fw={600}>{t('again', { n: count(preview.sources_total, language), bytes: bytes(preview.bytes) })}</Text>
      <List
        label={t('again_list')}
        short
        rows={preview.sources}
        rowKey={(row) => `${row.runner}/${row.source}@${row.node}`}
        empty={t('again_nothing')}
        columns={[
          { key: 'source', title: t('source'), width: 'minmax(0, 2fr)', cell: (row) => row.path ?? `${row.runner}/${row.source}` },
          { key: 'node', title: t('node'), cell: (row) => row.node_name },
          { key: 'bytes', title: t('again_bytes'), width: '7em', cell: (row) => bytes(row.bytes) },
        ]}
      />
      <Unanswered rows={preview.unanswered} />
    </Stack>
  )
}

/** What is thrown away with disk queues, by queue; and whose part is not known. */
function Dropped({ preview }: { preview: QueuePreview }) {
  const { t, language } = useWords()
  return (
    <Stack gap="xs">
      <Text fw={600}>{t('dropped', { bytes: bytes(preview.bytes), n: count(preview.queues_total, language) })}</Text>
      {preview.queues.length > 0 && (
        <List
          label={t('dropped_list')}
          short
          rows={preview.queues}
          rowKey={(row) => `${row.runner}@${row.node}`}
          empty=""
          columns={[
            { key: 'runner', title: t('runner'), cell: (row) => row.runner },
            { key: 'node', title: t('node'), cell: (row) => row.node_name },
            { key: 'bytes', title: t('lag'), width: '7em', cell: (row) => bytes(row.bytes) },
          ]}
        />
      )}
      <Unanswered rows={preview.unanswered} />
    </Stack>
  )
}

function Unanswered({ rows }: { rows: RewindPreview['unanswered'] }) {
  const { t, told } = useWords()
  return rows.map((row) => (
    <Text size="sm" c="var(--bad)" key={row.node + row.why}>
      {t('again_unknown', { node: row.node_name, why: told(row.why) })}
    </Text>
  ))
}

/** What became of a write; it follows the operation until all its targets have answered. */
export function Outcome({ written, onClose }: { written: Written; onClose: () => void }) {
  const { t } = useWords()
  const isOpen = written.targets.some((row) => row.state === 'pending') || !written.accepted
  const followed = useQuery({ ...operation(written.operation ?? ''), enabled: Boolean(written.operation) && isOpen })
  const rows = followed.data?.targets ?? written.targets
  const accepted = written.accepted || followed.data?.state === 'accepted'
  return (
    <Stack gap="sm" role="status">
      {!accepted && (
        <Alert color="orange" variant="outline">
          <Text size="sm">{t('accepted_not')}</Text>
        </Alert>
      )}
      <Targets rows={rows} />
      {rows.some((row) => row.state === 'pending') && <Text size="sm">{t('pending_help')}</Text>}
      <Group justify="space-between">
        {written.operation ? (
          <Go to="/operations/$operation" params={{ operation: written.operation }} onClick={onClose}>
            {t('to_operation')}
          </Go>
        ) : (
          <span />
        )}
        <Button onClick={onClose}>{t('close')}</Button>
      </Group>
    </Stack>
  )
}
