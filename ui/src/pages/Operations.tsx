import { Checkbox, Group, Stack, Text, Title } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useEffect } from 'react'
import type { OperationRow } from '../api/client'
import { operation, operations } from '../api/queries'
import { Targets } from '../components/Act'
import { Go } from '../components/Go'
import { List } from '../components/List'
import { Remote } from '../components/Remote'
import { Status } from '../components/Status'
import { Moment } from '../components/When'
import { useMore } from '../components/useMore'
import { useWords } from '../components/words'
import { sayState } from '../text'
import { FilterInput } from './Machines'
import { Figure, Panel } from './Overview'

const listRoute = getRouteApi('/operations')
const oneRoute = getRouteApi('/operations/$operation')

export function Operations() {
  const { t, language } = useWords()
  const search = listRoute.useSearch()
  const navigate = listRoute.useNavigate()
  const of = useInfiniteQuery(operations)
  const { hasNextPage } = of
  const more = useMore(of)
  // What is looked for is looked for here, so all pages must be here.
  const isSearching = Boolean(search.name || search.open) && hasNextPage
  useEffect(() => {
    if (isSearching) more()
  }, [isSearching, more])
  const matches = (row: OperationRow) =>
    (!search.open || row.pending + row.failed > 0) && (!search.name || [row.verb, row.actor, row.reason ?? '', ...row.runners].some((word) => word.includes(search.name ?? '')))
  return (
    <Stack>
      <Title order={1} size="h3">
        {t('operations')}
      </Title>
      <Group align="end">
        <FilterInput label={t('filter')} value={search.name ?? ''} onChange={(name) => navigate({ search: { ...search, name }, replace: true })} />
        <Checkbox
          label={t('only_pending')}
          checked={search.open ?? false}
          onChange={(event) => navigate({ search: { ...search, open: event.currentTarget.checked || undefined }, replace: true })}
        />
      </Group>
      <Remote of={of}>
        {(data) => {
          const all = data.pages.flatMap((page) => page.items)
          return (
            <List
              label={t('operations')}
              rows={all.filter(matches)}
              rowKey={(row) => row.id}
              empty={isSearching ? t('loading') : all.length === 0 ? t('no_operations') : t('nothing_matches')}
              onEnd={more}
              columns={[
                { key: 'time', title: t('time'), width: '11em', cell: (row) => <Go to="/operations/$operation" params={{ operation: row.id }}><Moment at={row.time} /></Go> },
                { key: 'actor', title: t('actor'), width: '6em', cell: (row) => row.actor },
                { key: 'verb', title: t('verb'), width: '8em', cell: (row) => sayState(language, row.verb) },
                { key: 'runners', title: t('runners'), cell: (row) => row.runners.join(', ') || '–' },
                { key: 'nodes', title: t('machines'), cell: (row) => row.nodes ?? '–' },
                { key: 'reason', title: t('reason'), cell: (row) => row.reason ?? '' },
                { key: 'outcome', title: t('outcome'), width: 'minmax(0, 1.5fr)', cell: (row) => <Tally row={row} /> },
              ]}
            />
          )
        }}
      </Remote>
    </Stack>
  )
}

function Tally({ row }: { row: OperationRow }) {
  return (
    <Group gap="xs">
      {(['applied', 'pending', 'failed'] as const)
        .filter((word) => row[word] > 0)
        .map((word) => (
          <Group gap={4} key={word}>
            <Status word={word} /> {row[word]}
          </Group>
        ))}
      {row.state !== 'accepted' && <Status word={row.state} />}
    </Group>
  )
}

export function Operation() {
  const { t, language } = useWords()
  const { operation: id } = oneRoute.useParams()
  const of = useQuery(operation(id))
  return (
    <Remote of={of}>
      {(view) => (
        <Stack>
          <Go to="/operations" size="sm">
            ← {t('operations')}
          </Go>
          <Title order={1} size="h3">
            {sayState(language, view.verb)} {view.runners.join(', ')}
          </Title>
          <Panel title={t('operation_title', { id: view.id })}>
            <Group className="figures">
              <Figure title={t('time')} text={<Moment at={view.time} />} />
              <Figure title={t('actor')} text={view.actor} />
              <Figure title={t('relay')} text={view.relay_name} />
              <Figure title={t('machines')} text={view.nodes ?? '–'} />
              <Figure title={t('reason')} text={view.reason ?? '–'} />
              <Figure title={t('state')} text={<Status word={view.state} />} />
            </Group>
          </Panel>
          <Panel title={t('targets')}>
            <Targets rows={view.targets} />
            {view.pending > 0 && (
              <Text size="sm" mt="xs">
                {t('pending_help')}
              </Text>
            )}
          </Panel>
        </Stack>
      )}
    </Remote>
  )
}
