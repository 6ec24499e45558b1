import KubeModel
import Testing

@testable import Controllers

@Suite struct OwnerGraphTests {
  /// An API in small: what is there, and what the graph's verdicts do to it.
  struct World {
    var objects: [String: ObjectMeta] = [:]
    var graph = OwnerGraph()
    var open: Set<String> = []

    mutating func put(_ metadata: ObjectMeta) {
      objects[metadata.uid ?? ""] = metadata
      open.formUnion(graph.put(metadata, apiVersion: "v1", kind: "Thing"))
    }

    mutating func make(_ uid: String, owners: [String] = [], blocks: Bool = true) {
      var metadata = ObjectMeta()
      metadata.uid = uid
      metadata.name = uid
      metadata.ownerReferences = owners.map { owner in
        var reference = OwnerReference()
        (reference.apiVersion, reference.kind, reference.name, reference.uid) = ("v1", "Thing", owner, owner)
        reference.blockOwnerDeletion = blocks
        return reference
      }
      put(metadata)
    }

    /// As the API deletes: at once, or with a finalizer that waits.
    mutating func delete(_ uid: String, _ policy: OwnerGraph.DeletionPolicy) {
      guard var metadata = objects[uid] else { return }
      switch policy {
      case .background: metadata.finalizers.removeAll { $0 == OwnerGraph.orphanFinalizer }
      case .foreground: metadata.finalizers = [OwnerGraph.foregroundFinalizer]
      case .orphan: metadata.finalizers = [OwnerGraph.orphanFinalizer]
      }
      metadata.deletionTimestamp = time(1)
      finish(metadata)
    }

    private mutating func finish(_ metadata: ObjectMeta) {
      if metadata.finalizers.isEmpty {
        objects[metadata.uid ?? ""] = nil
        open.formUnion(graph.remove(uid: metadata.uid ?? ""))
      } else {
        put(metadata)
      }
    }

    /// Works until nothing is open.
    mutating func run(_ dice: inout Dice) {
      for _ in 0..<2000 {
        guard let uid = open.sorted().randomElement(using: &dice) else { return }
        open.remove(uid)
        work(uid)
      }
      Issue.record("never done")
    }

    private mutating func work(_ uid: String) {
      let absent = Set((objects[uid]?.ownerReferences ?? []).map(\.uid)).subtracting(objects.keys)
      guard var metadata = objects[uid] else { return }
      switch graph.verdict(on: uid, absent: absent) {
      case .nothing, .lookUp: break
      case .delete(let policy): delete(uid, policy)
      case .forgetOwners(let uids):
        metadata.ownerReferences.removeAll { uids.contains($0.uid) }
        put(metadata)
      case .unblockAndDelete:
        for index in metadata.ownerReferences.indices { metadata.ownerReferences[index].blockOwnerDeletion = false }
        put(metadata)
        delete(uid, .foreground)
      case .waitFor(let uids): open.formUnion(uids)
      case .finishForeground:
        metadata.finalizers.removeAll { $0 == OwnerGraph.foregroundFinalizer }
        finish(metadata)
      case .orphan(let dependents):
        for dependent in dependents {
          guard var free = objects[dependent] else { continue }
          free.ownerReferences.removeAll { $0.uid == uid }
          put(free)
        }
        metadata.finalizers.removeAll { $0 == OwnerGraph.orphanFinalizer }
        finish(metadata)
      }
    }
  }

  private func chain() -> World {
    var world = World()
    world.make("deployment")
    world.make("set", owners: ["deployment"])
    world.make("pod-1", owners: ["set"])
    world.make("pod-2", owners: ["set"])
    return world
  }

  @Test(arguments: [OwnerGraph.DeletionPolicy.background, .foreground])
  func whatIsOwnedGoesWithItsOwner(policy: OwnerGraph.DeletionPolicy) {
    var dice = Dice(seed: 1)
    var world = chain()
    world.delete("deployment", policy)
    world.run(&dice)
    #expect(world.objects.isEmpty && world.graph.count == 0)
  }

  @Test func aForegroundDeletionEndsWithTheOwner() {
    var world = chain()
    world.delete("deployment", .foreground)
    #expect(world.graph.verdict(on: "deployment", absent: []) == .waitFor(["set"]))
    #expect(world.graph.verdict(on: "set", absent: []) == .delete(.foreground))
    world.delete("set", .foreground)
    #expect(world.graph.verdict(on: "set", absent: []) == .waitFor(["pod-1", "pod-2"]))
    #expect(world.graph.verdict(on: "pod-1", absent: []) == .delete(.background))
    world.delete("pod-1", .background)
    world.delete("pod-2", .background)
    #expect(world.graph.verdict(on: "set", absent: []) == .finishForeground)
  }

  @Test func orphansStayAndOwnNobody() {
    var dice = Dice(seed: 1)
    var world = chain()
    world.delete("deployment", .orphan)
    world.run(&dice)
    #expect(world.objects.keys.sorted() == ["pod-1", "pod-2", "set"])
    #expect(world.objects["set"]?.ownerReferences.isEmpty == true)
  }

  @Test func whoHasAnotherOwnerStaysWithIt() {
    var dice = Dice(seed: 1)
    var world = World()
    world.make("a")
    world.make("b")
    world.make("shared", owners: ["a", "b"])
    world.delete("a", .background)
    world.run(&dice)
    #expect(world.objects["shared"]?.ownerReferences.map(\.uid) == ["b"])
  }

  @Test func anOwnerThatWasNeverSeenIsAskedForFirst() {
    var world = World()
    world.make("child", owners: ["unknown"])
    guard case .lookUp(let owners) = world.graph.verdict(on: "child", absent: []) else {
      Issue.record("not asked for")
      return
    }
    #expect(owners.map(\.uid) == ["unknown"])
    #expect(world.graph.verdict(on: "child", absent: ["unknown"]) == .delete(.background))
  }

  @Test func aDependentThatDoesNotBlockIsNotWaitedFor() {
    var world = World()
    world.make("owner")
    world.make("child", owners: ["owner"], blocks: false)
    world.delete("owner", .foreground)
    #expect(world.graph.verdict(on: "owner", absent: []) == .finishForeground)
  }

  @Test(arguments: UInt64(0)..<200)
  func afterAnyHistoryNothingIsLeftThatHasLostItsOwnersAndNothingElseIsGone(seed: UInt64) {
    var dice = Dice(seed: seed)
    var world = World()
    var all: [String] = []
    for number in 0..<Int.random(in: 2...25, using: &dice) {
      // Owners may come later than what they own, and circles may arise.
      let owners = (0..<Int.random(in: 0...2, using: &dice)).map { _ in "o\(Int.random(in: 0...25, using: &dice))" }
      world.make("o\(number)", owners: Array(Set(owners).subtracting(["o\(number)"])).sorted(), blocks: dice.oneIn(2))
      all.append("o\(number)")
    }
    let born = world.objects.mapValues { $0.ownerReferences.map(\.uid) }
    var deleted: Set<String> = []
    for _ in 0..<Int.random(in: 1...4, using: &dice) {
      guard let victim = all.randomElement(using: &dice) else { break }
      deleted.insert(victim)
      world.delete(victim, dice.oneIn(2) ? .background : .foreground)
      if dice.oneIn(2) { world.run(&dice) }
    }
    world.run(&dice)
    for (uid, metadata) in world.objects {
      #expect(!metadata.isDeleting, "\(uid) still waits")
      let owners = metadata.ownerReferences.map(\.uid)
      #expect(owners.isEmpty || owners.contains { world.objects[$0] != nil }, "\(uid) has lost its owners")
    }
    for uid in all where !deleted.contains(uid) && world.objects[uid] == nil {
      #expect(
        born[uid]?.isEmpty == false && born[uid]?.contains { world.objects[$0] != nil } == false, "\(uid) is gone")
    }
  }
}
