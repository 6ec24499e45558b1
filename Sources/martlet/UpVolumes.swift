import Controllers
import JSON
import Kernel
import KubeClient
import KubeModel
import Logging
import Volumes

/// Removes the directories of volumes of this machine that are deleted, and says where such directories are made.
///
/// A node may not write volumes: where the cluster is not at home, it says on its Node which it has removed, and the
/// controllers let those volumes go.
struct UpVolumes: Sendable {
  static let provisioner = VolumeNames.provisioner
  static let rootAnnotation = VolumeNames.rootAnnotation
  private static let provisionedBy = "pv.kubernetes.io/provisioned-by"
  private static let retry = Duration.seconds(5)
  private static let conflictTriesMax = 5

  let nodeName: String
  /// Where the volumes' directories are.
  let root: String
  let client: KubeClient
  /// False for a node's own client.
  var mayWriteVolumes = true
  let logger = Logger(label: "martlet.volumes")

  /// Until cancelled.
  func run() async throws {
    let volumes = Informer<PersistentVolume>(client: client, logger: logger)
    let nodes = Informer<Node>(client: client, fieldSelector: "metadata.name=\(nodeName)", logger: logger)
    let changed = Signal()
    // Also one that is gone: its name need not be told any more.
    volumes.onChange { if $0.object.metadata.deletionTimestamp != nil { changed.raise() } }
    nodes.onChange { if $0.object.metadata.annotations[Self.rootAnnotation] != root { changed.raise() } }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await volumes.run() }
      group.addTask { try await nodes.run() }
      group.addTask {
        while !Task.isCancelled {
          var done = true
          if let node = nodes.list().first, node.metadata.annotations[Self.rootAnnotation] != root {
            done = await annotate([Self.rootAnnotation: root]) && done
          }
          let told = Self.told(nodes.list().first)
          let ours = volumes.list().filter(isOurs)
          for volume in ours where mayWriteVolumes || !told.contains(volume.metadata.name ?? "") {
            done = await remove(volume) && done
          }
          if !mayWriteVolumes { done = await tell(ours, told) && done }
          if done { await changed.wait() } else { try await Task.sleep(for: Self.retry) }
        }
      }
      try await group.next()
      group.cancelAll()
    }
  }

  /// It is deleted, its directory is on this machine, and nobody has a claim on it any more.
  func isOurs(_ volume: PersistentVolume) -> Bool {
    volume.metadata.deletionTimestamp != nil && volume.metadata.finalizers.contains(Self.provisioner)
      && volume.metadata.annotations[Self.provisionedBy] == Self.provisioner && names(volume)
  }

  private func names(_ volume: PersistentVolume) -> Bool {
    let terms = volume.spec.nodeAffinity?.required?.nodeSelectorTerms ?? []
    return terms.flatMap(\.matchExpressions).contains {
      $0.key == "kubernetes.io/hostname" && $0.values.contains(nodeName)
    }
  }

  /// Takes our finalizer from the volume as it is now.
  private func release(_ name: String) async throws(KubeError) {
    let volume: PersistentVolume = try await client.get(name: name)
    var metadata: JSONObject = [
      "finalizers": JSONValue(volume.metadata.finalizers.filter { $0 != Self.provisioner })
    ]
    if let revision = volume.metadata.resourceVersion { metadata["resourceVersion"] = .string(revision) }
    _ = try await client.patch(PersistentVolume.self, name: name, .merge(["metadata": .object(metadata)]))
  }

  private static func told(_ node: Node?) -> [String] {
    (node?.metadata.annotations[VolumeNames.removedAnnotation] ?? "").split(separator: ",").map(String.init)
  }

  /// Says of which of the volumes that wait for it the directories are gone. Those that are themselves gone are left out.
  private func tell(_ waiting: [PersistentVolume], _ told: [String]) async -> Bool {
    let gone = waiting.filter { volume in volume.spec.hostPath.map { !Files.exists($0.path) } ?? true }
    let names = gone.compactMap(\.metadata.name).sorted()
    if names == told { return true }
    return await annotate([VolumeNames.removedAnnotation: names.joined(separator: ",")])
  }

  private func annotate(_ notes: [String: String]) async -> Bool {
    do throws(KubeError) {
      _ = try await client.patch(
        Node.self, name: nodeName, .merge(["metadata": ["annotations": JSONValue(notes)]]))
      return true
    } catch {
      logger.error("node \(nodeName): \(error)")
      return false
    }
  }

  private func remove(_ volume: PersistentVolume) async -> Bool {
    let name = volume.metadata.name ?? ""
    do {
      if let path = volume.spec.hostPath?.path {
        try await onFreshThread { () throws(VolumeError) in try LocalDirectory.remove(path, below: root) }
      }
      guard mayWriteVolumes else { return true }
      // Others take their finalizers at the same time.
      for attempt in 1... {
        do throws(KubeError) {
          try await release(name)
          break
        } catch {
          guard error.isConflict, attempt < Self.conflictTriesMax else { throw error }
        }
      }
      logger.info("volume \(name): its directory is removed")
      return true
    } catch {
      // One that is gone meanwhile is what was wanted.
      if let error = error as? KubeError, error.isNotFound { return true }
      logger.error("volume \(name): \(error); tried again in \(Self.retry)")
      return false
    }
  }
}
