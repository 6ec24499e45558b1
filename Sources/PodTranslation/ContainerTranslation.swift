package import CRIModel
internal import JSON
package import KubeModel
internal import SwiftProtobuf

/// One container of a pod, with its variables resolved: the mounts' inner paths first, then the request.
package struct ContainerTranslation: Sendable {
  package let parent: PodTranslation
  package let container: Container
  private let environment: Environment

  /// - Throws: `TranslationError` for a ConfigMap, Secret or key that a variable needs and that is not there.
  package init(
    _ container: Container, of parent: PodTranslation, objects: PodObjects, podIPs: [String]
  ) throws(TranslationError) {
    self.parent = parent
    self.container = container
    environment = try Environment(container, pod: parent.pod, objects: objects, facts: parent.facts, podIPs: podIPs)
  }

  /// For each of the container's mounts, the path inside the volume; empty for the whole volume.
  package func innerPaths() throws(TranslationError) -> [String] {
    var paths: [String] = []
    for mount in container.volumeMounts {
      guard let expression = mount.subPathExpr, !expression.isEmpty else {
        paths.append(mount.subPath ?? "")
        continue
      }
      let path = Environment.expand(expression, environment.values)
      guard Names.isInnerPath(path), !path.contains("$(") else {
        throw TranslationError("subPathExpr \"\(expression)\" gives \"\(path)\", which is no path inside a volume")
      }
      paths.append(path)
    }
    return paths
  }

  /// A number that changes whenever what the container is made from changes.
  package static func hash(of container: Container) -> String {
    // FNV-1a, 64 bits, of the canonical JSON.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in container.json.encoded() { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return String(hash, radix: 16)
  }

  /// - Parameters:
  ///   - attempt: counts the starts of this container in this pod.
  ///   - mountSources: the host's path for each of the container's mounts.
  ///   - hostsFile: the host's path of the pod's /etc/hosts, if the agent keeps one.
  ///   - terminationLog: the host's path of the file for the container's last words, if the agent keeps one.
  package func config(
    attempt: UInt32, imageReference: String, mountSources: [String], hostsFile: String?, terminationLog: String?
  ) -> CRIContainerConfig {
    CRIContainerConfig.with { out in
      out.metadata.name = container.name
      out.metadata.attempt = attempt
      out.image.image = imageReference
      out.image.userSpecifiedImage = container.image ?? ""
      out.command = container.command.map { Environment.expand($0, environment.values) }
      out.args = container.args.map { Environment.expand($0, environment.values) }
      out.workingDir = container.workingDir ?? ""
      out.envs = environment.names.map { name in
        CRIKeyValue.with {
          $0.key = name
          $0.value = environment.values[name] ?? ""
        }
      }
      out.mounts = mounts(mountSources, hostsFile: hostsFile, terminationLog: terminationLog)
      out.labels = parent.labels.merging([PodKey.containerName: container.name]) { $1 }
      out.annotations = annotations(attempt)
      out.logPath = "\(container.name)/\(attempt).log"
      out.stdin = container.stdin == true
      out.stdinOnce = container.stdinOnce == true
      out.tty = container.tty == true
      out.linux.resources = Resources.container(container.resources, pod: parent.pod.spec, facts: parent.facts)
      out.linux.securityContext = SecuritySettings.container(container, parent.pod.spec, parent.facts)
      if let signal = container.lifecycle?.stopSignal { out.stopSignal = StopSignal.named(signal) }
    }
  }

  private func annotations(_ attempt: UInt32) -> [String: String] {
    [
      PodKey.containerHash: Self.hash(of: container), PodKey.restartCount: String(attempt),
      PodKey.terminationMessagePath: container.terminationMessagePath ?? "/dev/termination-log",
      PodKey.terminationMessagePolicy: container.terminationMessagePolicy ?? "File",
      PodKey.graceSeconds: String(parent.pod.spec.terminationGracePeriodSeconds ?? 30),
    ]
  }

  private func mounts(_ sources: [String], hostsFile: String?, terminationLog: String?) -> [CRIMount] {
    var out = zip(container.volumeMounts, sources).map { mount, source in
      CRIMount.with {
        $0.containerPath = mount.mountPath
        if let image = image(mount.name) {
          $0.image.image = source
          $0.image.userSpecifiedImage = image.reference ?? ""
          $0.imageSubPath = mount.subPath ?? ""
          $0.readonly = true
          return
        }
        $0.hostPath = source
        $0.readonly = mount.readOnly == true || isProjection(mount.name) || isReadOnly(mount.name)
        $0.recursiveReadOnly = mount.readOnly == true && mount.recursiveReadOnly == "Enabled"
        switch mount.mountPropagation {
        case "HostToContainer": $0.propagation = .propagationHostToContainer
        case "Bidirectional": $0.propagation = .propagationBidirectional
        default: $0.propagation = .propagationPrivate
        }
      }
    }
    func add(_ path: String, _ source: String) {
      guard !container.volumeMounts.contains(where: { $0.mountPath == path }) else { return }
      out.append(
        CRIMount.with {
          $0.containerPath = path
          $0.hostPath = source
        })
    }
    if let hostsFile { add("/etc/hosts", hostsFile) }
    if let terminationLog { add(container.terminationMessagePath ?? "/dev/termination-log", terminationLog) }
    return out
  }
}

extension ContainerTranslation {
  private func image(_ name: String) -> ImageVolumeSource? {
    parent.pod.spec.volumes.first { $0.name == name }?.image
  }

  /// Whether a claim was bound read-only for the whole pod.
  private func isReadOnly(_ name: String) -> Bool {
    parent.pod.spec.volumes.first { $0.name == name }?.persistentVolumeClaim?.readOnly == true
  }

  /// Such volumes are written by the agent alone; a container that could write would be overwritten without a word.
  private func isProjection(_ name: String) -> Bool {
    guard let volume = parent.pod.spec.volumes.first(where: { $0.name == name }) else { return false }
    return volume.secret != nil || volume.configMap != nil || volume.downwardAPI != nil || volume.projected != nil
  }
}

/// Signals by their names in a Pod.
enum StopSignal {
  static func named(_ name: String) -> CRISignal {
    let word = name.lowercased().replacing("+", with: "plus").replacing("-", with: "minus")
    return CRISignal.allCases.first { String(describing: $0) == word } ?? .runtimeDefault
  }
}
