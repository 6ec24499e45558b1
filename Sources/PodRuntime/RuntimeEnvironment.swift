internal import Kernel
internal import Logging
internal import Synchronization

/// How a runtime is set up.
package struct RuntimeConfiguration: Sendable, Hashable {
  /// Writable layers lie in `containers` below it.
  package var rootDirectory: String
  /// Pods lie in `pods` below it, on a file system that a reboot empties.
  package var runDirectory: String
  /// Parent group of sandboxes that ask for none.
  package var cgroupParent = "martlet"
  /// Run without the limits that the node has no controller for, instead of refusing them.
  package var toleratesMissingControllers = false
  /// Of martlet-shim; nil is the directory of this program.
  package var shimPath: String?

  package init(rootDirectory: String, runDirectory: String) {
    self.rootDirectory = rootDirectory
    self.runDirectory = runDirectory
  }

  var podsDirectory: String { runDirectory + "/pods" }
  var containersDirectory: String { rootDirectory + "/containers" }
}

/// Somebody else's part of the cgroup hierarchy, as systemd's: pods' groups lie in groups that only it makes and removes.
package struct GroupKeeper: Sendable {
  /// Where the group of a pod is to be, below a parent as a request or the settings name it. The last component is the
  /// pod's id; those above it are the keeper's.
  package var path: @Sendable (_ parent: String, _ podID: String) throws -> String
  /// Makes what is above the pod's group, which is empty afterwards but for what the hold keeps in its leaf `shim`.
  package var make: @Sendable (_ path: String) async throws -> any Hold
  /// Called once the pod's group is gone. Idempotent.
  package var remove: @Sendable (_ path: String) async throws -> Void

  /// Keeps the groups there until the pod has processes of its own: for as long as somebody refers to it.
  package protocol Hold: AnyObject, Sendable {}

  package init(
    path: @escaping @Sendable (String, String) throws -> String,
    make: @escaping @Sendable (String) async throws -> any Hold,
    remove: @escaping @Sendable (String) async throws -> Void
  ) {
    self.path = path
    self.make = make
    self.remove = remove
  }
}

/// What the runtime asks of those above it.
package struct RuntimeHooks: Sendable {
  package var network: NetworkProvider
  /// Nil where all groups are made and removed as directories.
  package var groups: GroupKeeper?
  /// The container of that id no longer needs its image. Idempotent.
  package var releaseImage: @Sendable (_ containerID: String) async -> Void
  /// A container was found again after a restart: keep its image.
  package var holdImage: @Sendable (_ imageID: String, _ containerID: String) async throws -> Void
  /// A container was created by an earlier daemon and its specification is needed again: from the request's bytes.
  package var recompile:
    @Sendable (_ request: [UInt8], _ places: ContainerPlaces, _ sandbox: SandboxSnapshot) async throws
      -> CompiledContainer

  package init(
    network: NetworkProvider, releaseImage: @escaping @Sendable (String) async -> Void,
    holdImage: @escaping @Sendable (String, String) async throws -> Void,
    recompile: @escaping @Sendable ([UInt8], ContainerPlaces, SandboxSnapshot) async throws -> CompiledContainer
  ) {
    self.network = network
    self.releaseImage = releaseImage
    self.holdImage = holdImage
    self.recompile = recompile
  }
}

/// What all sandboxes of one runtime share.
struct RuntimeEnvironment: Sendable {
  var configuration: RuntimeConfiguration
  var hooks: RuntimeHooks
  var hierarchy: CgroupHierarchy
  var bootID: String
  var shimProgram: ShimProgram
  var log: Logger
  var board: Board
  var madeGroups: MadeGroups

  func places(of containerID: String, in sandboxID: String) -> ContainerPlaces {
    let pod = "\(configuration.podsDirectory)/\(sandboxID)"
    return ContainerPlaces(
      containerID: containerID, sandboxID: sandboxID, podDirectory: pod,
      directory: "\(pod)/containers/\(containerID)",
      storageDirectory: "\(configuration.containersDirectory)/\(containerID)")
  }
}

/// Groups above those of pods that were made for pods, also for pods that are gone: they go with the last pod in them.
final class MadeGroups: Sendable {
  private let paths = Mutex<Set<String>>([])

  func note(_ made: [String]) { paths.withLock { $0.formUnion(made) } }

  func contains(_ group: CgroupPath) -> Bool { paths.withLock { $0.contains(group.description) } }

  /// Makes a pod's group, and notes those above it that were not there. Not while another pod's end looks whether they are
  /// empty: what came between its look and its note would be nobody's.
  func create(_ group: Cgroup, below made: [String]) throws(CgroupError) {
    let failure = paths.withLock { paths -> CgroupError? in
      paths.formUnion(made)
      do throws(CgroupError) { _ = try group.create() } catch { return error }
      return nil
    }
    if let failure { throw failure }
  }

  /// Removes those above `path` that are ours and empty, deepest first.
  func removeEmpty(above path: String, in hierarchy: CgroupHierarchy) throws {
    var next = try CgroupPath(path).parent
    while let group = next {
      let isGone = try paths.withLock { paths in
        guard paths.contains(group.description), try hierarchy.group(group).removeIfEmpty() else { return false }
        paths.remove(group.description)
        return true
      }
      guard isGone else { return }
      next = group.parent
    }
  }
}

/// The latest snapshot of everything, for lists and lookups that wait for nobody, and the followers of events.
final class Board: Sendable {
  private struct State {
    var sandboxes: [String: SandboxSnapshot] = [:]
    var containers: [String: ContainerSnapshot] = [:]
    var followers: [UInt64: AsyncStream<RuntimeEvent>.Continuation] = [:]
    var nextFollower: UInt64 = 0
  }
  private let state = Mutex(State())

  func publish(_ snapshot: SandboxSnapshot) { state.withLock { $0.sandboxes[snapshot.id] = snapshot } }
  func publish(_ snapshot: ContainerSnapshot) { state.withLock { $0.containers[snapshot.id] = snapshot } }
  func remove(sandbox id: String) { _ = state.withLock { $0.sandboxes.removeValue(forKey: id) } }
  func remove(container id: String) { _ = state.withLock { $0.containers.removeValue(forKey: id) } }

  var sandboxes: [SandboxSnapshot] { state.withLock { Array($0.sandboxes.values) } }
  var containers: [ContainerSnapshot] { state.withLock { Array($0.containers.values) } }

  /// By id or by a prefix that only one has, as people type it.
  func sandbox(_ id: String) -> SandboxSnapshot? {
    state.withLock { Self.find(id, in: $0.sandboxes) }
  }

  func container(_ id: String) -> ContainerSnapshot? {
    state.withLock { Self.find(id, in: $0.containers) }
  }

  private static func find<Value>(_ id: String, in all: [String: Value]) -> Value? {
    if let exact = all[id] { return exact }
    guard !id.isEmpty, id.utf8.count < 64 else { return nil }
    let matches = all.filter { $0.key.hasPrefix(id) }
    return matches.count == 1 ? matches.first?.value : nil
  }

  func announce(_ event: RuntimeEvent) {
    state.withLock { state in for follower in state.followers.values { follower.yield(event) } }
  }

  func follow() -> AsyncStream<RuntimeEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: RuntimeEvent.self, bufferingPolicy: .bufferingNewest(RuntimeBounds.eventsMax))
    let number = state.withLock { state in
      state.nextFollower += 1
      state.followers[state.nextFollower] = continuation
      return state.nextFollower
    }
    continuation.onTermination = { [weak self] _ in
      _ = self?.state.withLock { $0.followers.removeValue(forKey: number) }
    }
    return stream
  }
}
