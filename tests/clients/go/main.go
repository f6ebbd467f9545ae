// The scenario of the README with franz-go: `franz-go BOOTSTRAP PREFIX`.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 3
	records    = 30
	patience   = 60 * time.Second
)

type scenario struct {
	ctx                       context.Context
	bootstrap, prefix, events string
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: franz-go BOOTSTRAP PREFIX")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	s := &scenario{ctx, os.Args[1], os.Args[2], os.Args[2] + "-events"}
	s.administration()
	s.commit("before")
	s.abort()
	s.commit("after")
	s.isolation()
	s.group()
	s.offsets()
	s.groups()
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func ok(step, detail string) { fmt.Printf("ok %s: %s\n", step, detail) }

func must(what string, err error) {
	if err != nil {
		fail("FAILED %s: %v", what, err)
	}
}

func expect(step string, expected, got any) {
	if !reflect.DeepEqual(expected, got) {
		fail("MISMATCH in %s: not %v but %v", step, expected, got)
	}
}

func (s *scenario) client(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(s.bootstrap))...)
	must("a client", err)
	return client
}

func (s *scenario) producer() *kgo.Client {
	return s.client(kgo.TransactionalID(s.prefix+"-writer"), kgo.DefaultProduceTopic(s.events))
}

func (s *scenario) member(group string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(s.prefix + "-" + group), kgo.ConsumeTopics(s.events),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DisableAutoCommit(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
	}
}

func values(kinds ...string) []string {
	var all []string
	for _, kind := range kinds {
		for n := range records {
			all = append(all, fmt.Sprintf("%s-%d", kind, n))
		}
	}
	slices.Sort(all)
	return all
}

// transaction writes records of a kind, acknowledged before the end.
func (s *scenario) transaction(kind string, end kgo.TransactionEndTry) {
	client := s.producer()
	defer client.Close()
	must("begin", client.BeginTransaction())
	var batch []*kgo.Record
	for _, value := range values(kind) {
		batch = append(batch, &kgo.Record{Key: []byte(value), Value: []byte(value)})
	}
	must("produce", client.ProduceSync(s.ctx, batch...).FirstErr())
	must("end", client.EndTransaction(s.ctx, end))
}

func (s *scenario) commit(kind string) {
	s.transaction(kind, kgo.TryCommit)
	ok("commit", fmt.Sprintf("%d records, %s", records, kind))
}

func (s *scenario) abort() {
	s.transaction("aborted", kgo.TryAbort)
	ok("abort", fmt.Sprintf("%d records", records))
}

// readAll gives what the log has, to its end.
func (s *scenario) readAll(level kgo.IsolationLevel) []string {
	client := s.client(
		kgo.ConsumeTopics(s.events), kgo.FetchIsolationLevel(level),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(),
	)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(s.ctx, s.events)
	must("the log's end", err)
	var read []string
	left := partitions
	for left > 0 {
		fetches := client.PollFetches(s.ctx)
		must("fetch", fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				read = append(read, string(record.Value))
			}
			if end, _ := ends.Lookup(s.events, record.Partition); record.Offset == end.Offset-1 {
				left--
			}
		})
	}
	slices.Sort(read)
	return read
}

func (s *scenario) isolation() {
	expect("read_committed", values("before", "after"), s.readAll(kgo.ReadCommitted()))
	ok("read_committed", fmt.Sprintf("%d records, none of the aborted", 2*records))
	all := values("before", "aborted", "after")
	expect("read_uncommitted", all, s.readAll(kgo.ReadUncommitted()))
	ok("read_uncommitted", fmt.Sprintf("%d records", 3*records))
}

func (s *scenario) group() {
	expected := values("before", "after")
	var lock sync.Mutex
	seen := map[string]bool{}
	var members sync.WaitGroup
	for range 2 {
		members.Go(func() {
			client := s.client(s.member("group")...)
			defer client.Close()
			for {
				poll, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
				fetches := client.PollFetches(poll)
				cancel()
				must("the group's time", s.ctx.Err())
				lock.Lock()
				fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
				done := len(seen) >= len(expected)
				lock.Unlock()
				// A rebalance in between commits again in the next round.
				err := client.CommitUncommittedOffsets(s.ctx)
				if _, generation := client.GroupMetadata(); done && err == nil && generation >= 0 {
					return
				}
			}
		})
	}
	members.Wait()
	got := make([]string, 0, len(seen))
	for value := range seen {
		got = append(got, value)
	}
	slices.Sort(got)
	expect("group", expected, got)
	s.commit("late")
	// Who comes after them goes on where they ended.
	client := s.client(s.member("group")...)
	defer client.Close()
	var late []string
	for len(late) < records {
		fetches := client.PollFetches(s.ctx)
		must("fetch", fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { late = append(late, string(r.Value)) })
	}
	must("commit", client.CommitUncommittedOffsets(s.ctx))
	slices.Sort(late)
	expect("group", values("late"), late)
	ok("group", "two members, and one that goes on")
}

// offsets in a transaction: an aborted one leaves none.
func (s *scenario) offsets() {
	options := append(s.member("eos"), kgo.TransactionalID(s.prefix+"-eos"),
		kgo.RequireStableFetchOffsets())
	session, err := kgo.NewGroupTransactSession(append(options, kgo.SeedBrokers(s.bootstrap))...)
	must("a session", err)
	defer session.Close()
	admin := kadm.NewClient(session.Client())
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		must("begin", session.Begin())
		read := map[int32]int64{}
		for len(read) < partitions {
			fetches := session.PollFetches(s.ctx)
			must("fetch", fetches.Err())
			fetches.EachRecord(func(r *kgo.Record) { read[r.Partition] = r.Offset + 1 })
		}
		committed, err := session.End(s.ctx, end)
		must("end", err)
		expect("offsets", end == kgo.TryCommit, committed)
		if end == kgo.TryAbort {
			read = map[int32]int64{}
		}
		// Of all topics, only those with offsets are told: the markers may be on their way.
		s.await(fmt.Sprintf("offsets %v", read), func() bool {
			stored, err := admin.FetchOffsets(s.ctx, s.prefix+"-eos")
			must("offsets", err)
			got := map[int32]int64{}
			stored.Each(func(o kadm.OffsetResponse) { got[o.Partition] = o.At })
			return reflect.DeepEqual(read, got)
		})
	}
	ok("offsets", "with the transaction, or not at all")
}

func (s *scenario) administration() {
	client := s.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	_, err := admin.CreateTopic(s.ctx, partitions, 1, nil, s.events)
	must("create", err)
	topic, retention := s.prefix+"-admin", "3600000"
	configs := map[string]*string{"retention.ms": &retention}
	_, err = admin.CreateTopic(s.ctx, 1, 1, configs, topic)
	must("create", err)
	s.awaitPartitions(admin, topic, 1)
	expect("administration", "3600000", s.config(admin, topic))
	longer := "7200000"
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &longer}}
	altered, err := admin.AlterTopicConfigs(s.ctx, alter, topic)
	must("alter", err)
	must("alter", altered[0].Err)
	s.await("the altered config", func() bool { return s.config(admin, topic) == longer })
	added, err := admin.UpdatePartitions(s.ctx, 3, topic)
	must("partitions", err)
	must("partitions", added.Error())
	s.awaitPartitions(admin, topic, 3)
	s.deleteRecords(client, admin, topic)
	_, err = admin.DeleteTopic(s.ctx, topic)
	must("delete", err)
	s.await("the topic's end", func() bool {
		topics, err := admin.ListTopics(s.ctx)
		must("list", err)
		return !topics.Has(topic)
	})
	cluster, err := admin.BrokerMetadata(s.ctx)
	must("the cluster", err)
	expect("administration", 1, len(cluster.Brokers))
	ok("administration", "create, describe, alter, add partitions, delete")
}

func (s *scenario) deleteRecords(client *kgo.Client, admin *kadm.Client, topic string) {
	for range 3 {
		record := &kgo.Record{Topic: topic, Value: []byte("v")}
		must("produce", client.ProduceSync(s.ctx, record).FirstErr())
	}
	ends, err := admin.ListEndOffsets(s.ctx, topic)
	must("the log's end", err)
	deleted, err := admin.DeleteRecords(s.ctx, ends.Offsets())
	must("delete records", err)
	must("delete records", deleted.Error())
	starts, err := admin.ListStartOffsets(s.ctx, topic)
	must("the log's start", err)
	expect("administration", ends.Offsets(), starts.Offsets())
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	expect("administration", int64(3), total)
}

func (s *scenario) config(admin *kadm.Client, topic string) string {
	described, err := admin.DescribeTopicConfigs(s.ctx, topic)
	must("describe", err)
	resource, err := described.On(topic, nil)
	must("describe", err)
	for _, config := range resource.Configs {
		if config.Key == "retention.ms" {
			return config.MaybeValue()
		}
	}
	return "no retention.ms"
}

func (s *scenario) awaitPartitions(admin *kadm.Client, topic string, count int) {
	s.await(fmt.Sprintf("%s with %d partitions", topic, count), func() bool {
		topics, err := admin.ListTopics(s.ctx, topic)
		must("list", err)
		return len(topics[topic].Partitions) == count
	})
}

func (s *scenario) await(what string, condition func() bool) {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			fail("MISMATCH: %s: not within %v", what, patience)
		}
	}
}

func (s *scenario) groups() {
	client := s.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	group := s.prefix + "-group"
	listed, err := admin.ListGroups(s.ctx)
	must("list", err)
	expect("groups", true, slices.Contains(listed.Groups(), group))
	described, err := admin.DescribeGroups(s.ctx, group)
	must("describe", err)
	expect("groups", "Empty", described[group].State)
	offsets, err := admin.FetchOffsets(s.ctx, group)
	must("offsets", err)
	expect("groups", partitions, len(offsets.Offsets()[s.events]))
	deleted, err := admin.DeleteGroups(s.ctx, group)
	must("delete", err)
	must("delete", deleted[group].Err)
	listed, err = admin.ListGroups(s.ctx)
	must("list", err)
	expect("groups", false, slices.Contains(listed.Groups(), group))
	ok("groups", "list, describe, offsets, delete")
}
