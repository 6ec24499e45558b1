import EtcdStore
import Kernel
import ObjectStore
import TestSupport
import Testing

/// What clients were told, against what etcd's history says, while etcd is killed or the wire is cut.
@Suite struct EtcdKillTests {
  static let writers = 8
  static let sharedKeys = 4

  /// One client: changes its own key and some that all want, and writes down what it was told.
  static func work(
    _ store: ObjectStore, _ name: String, seed: UInt64, history: WriteHistory, until end: ContinuousClock.Instant
  ) async {
    var random = Seeded(state: seed)
    var count = 0
    while ContinuousClock.now < end {
      count += 1
      let key =
        Int.random(in: 0..<3, using: &random) == 0
        ? "/w/\(name)" : "/s/\(Int.random(in: 0..<sharedKeys, using: &random))"
      let readBegan = history.tick()
      let object = store.get(key)
      history.read(
        key, object.map { String(decoding: $0.value, as: UTF8.self) }, revision: object?.revision ?? 0, began: readBegan
      )
      let expected = object?.revision ?? 0
      let value = "\(name)-\(count)"
      let deletes = object != nil && Int.random(in: 0..<8, using: &random) == 0
      let transaction =
        deletes
        ? Transaction(checks: [key: expected], deletes: [key])
        : Transaction(checks: [key: expected], puts: [(key, Array(value.utf8))])
      let began = history.tick()
      let outcome: WriteHistory.Outcome
      do throws(StoreError) {
        outcome = .done(try await store.commit(transaction))
      } catch {
        switch error {
        case .io: outcome = .unknown
        default: outcome = .refused
        }
      }
      history.wrote(key, deletes ? nil : value, expected: expected, began: began, outcome)
      // Where everything is refused at once, the others get a turn.
      if case .refused = outcome { await Task.yield() }
    }
  }

  /// - Parameter disturb: what happens to etcd meanwhile.
  static func run(
    on stores: [ObjectStore], seed: UInt64, seconds: Double, disturb: @Sendable @escaping () async throws -> Void
  ) async throws -> WriteHistory {
    let history = WriteHistory()
    let end = ContinuousClock.now + .seconds(seconds)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<writers {
        let store = stores[writer % stores.count]
        group.addTask {
          await work(store, "c\(writer)", seed: seed &* 1000 &+ UInt64(writer), history: history, until: end)
        }
      }
      group.addTask { try await disturb() }
      try await group.waitForAll()
    }
    return history
  }

  @Test(arguments: Seeded.seeds(1...3)) func etcdKilledUnderLoadLosesNothingAndNothingHappensTwice(
    _ seed: UInt64
  ) async throws {
    try await EtcdLab.with { lab in
      let store = try await lab.open()
      let start = store.revision
      let watching = Task { try await store.events(after: start, through: "/end", "end") }
      let history = try await Self.run(on: [store], seed: seed, seconds: 3) {
        for _ in 0..<3 {
          try await Task.sleep(for: .milliseconds(400 + Int(seed % 5) * 60))
          lab.etcd.kill()
          try await lab.etcd.start()
        }
      }
      try await store.put("/end", "end")
      let changes = try await watching.value.map(\.change)
      #expect(history.problems(changes) == [], "seed \(seed)")
      #expect(history.acknowledged > 20)
      // A reader that comes later sees the same history, and the same objects.
      let later = try await lab.open()
      #expect(later.lines == store.lines)
      #expect(try await later.events(after: start, through: "/end", "end").map(\.change) == changes)
      await later.close()
      await store.close()
    }
  }

  @Test(arguments: Seeded.seeds(11...13)) func answersThatAreLostOnTheWireAreFoundOutNotRepeated(
    _ seed: UInt64
  ) async throws {
    try await EtcdLab.with { lab in
      let wire = try await Wire(to: lab.etcd.port, port: try EtcdProcess.freePort())
      let store = try await lab.open(at: wire.url)
      let direct = try await lab.open()
      let start = direct.revision
      let watching = Task { try await direct.events(after: start, through: "/end", "end") }
      let history = try await Self.run(on: [store], seed: seed, seconds: 3) {
        var random = Seeded(state: seed)
        for _ in 0..<8 {
          try await Task.sleep(for: .milliseconds(Int.random(in: 80...350, using: &random)))
          wire.cut()
          try await wire.mend()
        }
      }
      try await direct.put("/end", "end")
      let changes = try await watching.value.map(\.change)
      #expect(history.problems(changes) == [], "seed \(seed)")
      #expect(history.acknowledged > 20)
      #expect(history.unknown == 0, "etcd was there all the time: everything could be found out")
      wire.cut()
      await direct.close()
      await store.close()
    }
  }

  @Test func twoServersOnOneEtcdSeeOneHistory() async throws {
    try await EtcdLab.with { lab in
      let stores = [try await lab.open(), try await lab.open()]
      let start = stores[0].revision
      let watching = stores.map { store in Task { try await store.events(after: start, through: "/end", "end") } }
      let history = try await Self.run(on: stores, seed: 5, seconds: 1.5) {}
      try await stores[0].put("/end", "end")
      let first = try await watching[0].value.map(\.change)
      let second = try await watching[1].value.map(\.change)
      #expect(first == second)
      #expect(history.problems(first, seesOwnWrites: false) == [])
      #expect(stores[0].lines == stores[1].lines)
      for store in stores { await store.close() }
    }
  }
}

/// splitmix64: the same numbers from the same seed everywhere.
struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  static func seeds(_ range: ClosedRange<UInt64>) -> [UInt64] {
    if let text = environmentVariable("SEED"), let seed = UInt64(text) { return [seed] }
    return Array(range)
  }
}
