import Kernel
import Logging
import NFT
import Synchronization
import TestSupport
import Testing

@testable import Dataplane

/// Puts a message that the kernel refuses before one of each transaction.
final class FaultyCarrier: MessageCarrier {
  private let inner: KernelCarrier
  let position = Mutex<Int?>(nil)
  let count = Mutex(0)

  init(_ transactions: NftTransactions) { inner = KernelCarrier(transactions: transactions) }

  func run(_ messages: [Message]) throws(NftRefusal) -> NftSent {
    count.withLock { $0 = messages.count }
    var sent = messages
    if let position = position.withLock({ $0 }) {
      // A chain of that type does not exist at that hook: EOPNOTSUPP, not one of the errnos of a foreign change.
      let refused = Message.addChain(
        table: "martlet", "faulty", Chain.Base(kind: .nat, hook: .forward, priority: 0))
      sent.insert(refused, at: min(position, sent.count))
    }
    return try inner.run(sent)
  }
}

@Suite(.serialized) struct OwnershipTests {
  @Test func aRefusedMessageChangesNothingAndTheNextTryConverges() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let (carrier, dataplane) = try await bench.node.namespace.run {
      () throws(SyscallError) -> (FaultyCarrier, Result<Dataplane, DataplaneError>) in
      let carrier = FaultyCarrier(try NftTransactions())
      return (
        carrier,
        Result { () throws(DataplaneError) in
          try Dataplane(
            configuration: DataplaneConfiguration(podCIDRs: podCIDRs, nodePortAddresses: Array(nodeAddresses)),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, carrier: carrier)
        }
      )
    }
    let faulty = try dataplane.get()
    let first = [service("a", "10.96.0.1", endpoints: 2), service("b", "10.96.0.2", endpoints: 3)]
    try await faulty.apply(try ServiceTable(first))
    let change = [
      service("a", "10.96.0.1", endpoints: 5) { $0.affinitySeconds = 60 },
      service("c", "0.0.0.0", port: 30_000, endpoints: 1) { $0.kind = .nodePort },
    ]
    var position = 0
    while true {
      let before = try await bench.listing()
      carrier.position.withLock { $0 = position }
      await #expect(throws: DataplaneError.self) { try await faulty.change(set: change, remove: [first[1].key]) }
      #expect(try await bench.listing() == before)
      #expect(try await faulty.verify().isIntact)
      position += 1
      if position > carrier.count.withLock({ $0 }) { break }
    }
    carrier.position.withLock { $0 = nil }
    try await faulty.change(set: change, remove: [first[1].key])
    #expect(try await faulty.verify().isIntact)
    #expect(position > 5)
  }

  @Test(arguments: [
    "flush ruleset", "delete element inet martlet services4 { 10.96.0.1 . tcp . 80 }",
    "flush chain inet martlet choose4",
    "add rule inet martlet services counter", "add chain inet martlet stray",
    "add set inet martlet other { type mark; }",
    "add element inet martlet endpoints4 { 10.96.0.9 . tcp . 80 . 5000:1 : 10.88.0.99 . 80 }",
  ])
  func whatAnotherProgramChangesIsNoticedAndMended(_ command: String) async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(try ServiceTable([service("a", "10.96.0.1", endpoints: 2)]))
    let before = try await bench.listing()
    let (events, continuation) = AsyncStream.makeStream(of: OwnershipEvent.self)
    let watcher = Task { [dataplane = bench.dataplane] in try await dataplane.watch { continuation.yield($0) } }
    while await !bench.dataplane.isWatched { await Task.yield() }
    try await bench.node.command("nft", command)
    var iterator = events.makeAsyncIterator()
    let event = await iterator.next()
    #expect(event?.failure == nil && event?.verification.isIntact == false)
    #expect(try await bench.listing() == before)
    // Our own changes are nobody else's.
    try await bench.dataplane.change(set: [service("b", "10.96.0.2", endpoints: 3)])
    #expect(try await bench.dataplane.verify().isIntact)
    watcher.cancel()
    _ = await watcher.result
  }

  @Test func successorKeepsWhatIsAsItShouldBe() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let table = try ServiceTable((0..<50).map { service("s\($0)", "10.96.0.\($0 + 1)", endpoints: 3) })
    try await bench.dataplane.apply(table)
    let successor = try await Bench.owner(in: bench.node)
    #expect(try await successor.apply(table).messages == 0)
    var changed = table
    changed.remove(service("s7", "10.96.0.8", endpoints: 3).key)
    let another = try await Bench.owner(in: bench.node)
    let applied = try await another.apply(changed)
    #expect((1...6).contains(applied.messages) && applied.addedElements == 0, "\(applied)")
    #expect(try await another.verify().isIntact)
  }
}
