import ObjectStore
import Synchronization
import TestSupport
import Testing

/// Watches that are read without waiting, by who is told that there is something.
@Suite struct StoreBellTests {
  @Test func theBellRingsOnceForWhatWaitsTogether() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let store = try await ObjectStore.open(directory: directory.path + "/store")
    let watch = try store.watch(prefix: "/a/", after: 0)
    let rings = Mutex(0)
    guard case .nothing = watch.poll() else { throw Unexpected("something before anything was written") }
    watch.onReady { rings.withLock { $0 += 1 } }
    for number in 1...3 {
      _ = try await store.commit(Transaction(puts: [("/a/\(number)", [1])]))
      _ = try await store.commit(Transaction(puts: [("/b/\(number)", [1])]))
    }
    #expect(rings.withLock { $0 } == 1)
    var seen: [Int64] = []
    while case .batch(let batch) = watch.poll() { seen += batch.events.map(\.revision) }
    #expect(seen == [1, 3, 5])
    _ = try await store.commit(Transaction(puts: [("/a/4", [1])]))
    #expect(rings.withLock { $0 } == 2, "what has been read is told of no more; what comes then, is")
    await store.close()
    #expect(rings.withLock { $0 } == 3, "the end is told, too")
    guard case .failed(.closed) = watch.poll() else { throw Unexpected("no end") }
  }

  @Test func aWatchThatIsCancelledRingsAndEnds() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let store = try await ObjectStore.open(directory: directory.path + "/store")
    let watch = try store.watch(prefix: "/", after: 0)
    let rings = Mutex(0)
    watch.onReady { rings.withLock { $0 += 1 } }
    watch.cancel()
    #expect(rings.withLock { $0 } == 1)
    guard case .ended = watch.poll() else { throw Unexpected("no end") }
    await store.close()
  }

  @Test func aReaderThatNeverComesIsToldWhereToBegin() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    var configuration = StoreConfiguration()
    configuration.watchEventsMax = 4
    let store = try await ObjectStore.open(directory: directory.path + "/store", configuration: configuration)
    let watch = try store.watch(prefix: "/", after: 0)
    watch.onReady {}
    for number in 1...6 { _ = try await store.commit(Transaction(puts: [("/a/\(number)", [1])])) }
    guard case .failed(.overflow(let after)) = watch.poll() else { throw Unexpected("no overflow") }
    #expect(after == 0)
    await store.close()
  }

  struct Unexpected: Error {
    let what: String
    init(_ what: String) { self.what = what }
  }
}
