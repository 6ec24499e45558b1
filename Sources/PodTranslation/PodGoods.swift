internal import JSON
package import KubeModel

/// A service account's token that a volume of a pod asks for.
package struct TokenKey: Hashable, Sendable {
  /// Empty: the API server itself.
  package var audience: String
  package var seconds: Int64

  package init(audience: String, seconds: Int64) { (self.audience, self.seconds) = (audience, seconds) }

  package init(_ source: ServiceAccountTokenProjection) {
    self.init(audience: source.audience ?? "", seconds: source.expirationSeconds ?? 3600)
  }

  /// All that the pod's volumes ask for.
  package static func all(of pod: Pod) -> Set<TokenKey> {
    Set(
      pod.spec.volumes.flatMap { $0.projected?.sources ?? [] }.compactMap { $0.serviceAccountToken }.map {
        TokenKey($0)
      })
  }
}

/// Where the content of a claim is on this node.
package enum ClaimPlace: Hashable, Sendable {
  case hostPath(String, VolumePlan.HostPathKind)
  /// A directory that is there.
  case local(String)
  /// A directory of the node's own provisioner, made when it is first used.
  case provisioned(String)
}

extension ClaimPlace {
  /// What a volume says of itself; nil with `problem` where this node has no such volumes.
  package static func of(_ volume: PersistentVolume, provisioner: String) throws(TranslationError) -> ClaimPlace {
    let name = volume.metadata.name ?? ""
    guard volume.spec.volumeMode != "Block" else {
      throw mount(name, "volumeMode Block is not supported by this node")
    }
    if let host = volume.spec.hostPath {
      let steps = host.path.split(separator: "/")
      guard host.path.hasPrefix("/"), !steps.contains(".."), !host.path.utf8.contains(0) else {
        throw mount(name, "\"\(host.path)\" must be absolute, without ..")
      }
      if volume.metadata.annotations["pv.kubernetes.io/provisioned-by"] == provisioner {
        return .provisioned(host.path)
      }
      return .hostPath(host.path, VolumePlan.HostPathKind(rawValue: host.type ?? "") ?? .any)
    }
    if let local = volume.spec.local {
      guard local.path.hasPrefix("/"), !local.path.split(separator: "/").contains("..") else {
        throw mount(name, "\"\(local.path)\" must be absolute, without ..")
      }
      return .local(local.path)
    }
    let sources = (volume.spec.json.object?.keys ?? []).filter { !generalFields.contains($0) }
    throw mount(name, "volumes of type \(sources.joined(separator: ", ")) are not supported by this node")
  }

  private static let generalFields: Set<String> = [
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
  ]

  private static func mount(_ volume: String, _ why: String) -> TranslationError {
    TranslationError(reason: "FailedMount", "MountVolume.SetUp failed for volume \"\(volume)\" : \(why)")
  }
}

extension Pod {
  /// Those that came to it while it ran, as containers like others.
  package var ephemeralContainers: [Container] {
    spec.ephemeralContainers.map { container in
      // The same fields, but for one that only they have.
      var decoder = FieldDecoder(isLenient: true)
      return Container(container.json, &decoder)
    }
  }

  /// The claim that a volume of this pod is of; nil: it is of none.
  package func claim(of volume: Volume) -> String? {
    if let claim = volume.persistentVolumeClaim { return claim.claimName }
    if volume.ephemeral != nil { return "\(metadata.name ?? "")-\(volume.name)" }
    return nil
  }
}
