internal import JSON
internal import KubeClient
internal import KubeModel
internal import PodTranslation

/// Tokens and claims of an API server's pods, read with the node's own credentials.
struct ClusterGoods: PodGoods {
  /// Who makes volumes out of directories of nodes.
  static let provisioner = "martlet.dev/local-path"

  let client: KubeClient

  func token(_ key: TokenKey, for pod: Pod) async throws -> (text: String, seconds: Int64) {
    let account = pod.spec.serviceAccountName.flatMap { $0.isEmpty ? nil : $0 } ?? "default"
    var spec: JSONObject = [
      "expirationSeconds": .integer(key.seconds),
      "boundObjectRef": [
        "apiVersion": "v1", "kind": "Pod", "name": .string(pod.metadata.name ?? ""),
        "uid": .string(pod.metadata.uid ?? ""),
      ],
    ]
    spec["audiences"] = key.audience.isEmpty ? [] : [.string(key.audience)]
    let body: JSONValue = [
      "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": .object(spec),
    ]
    let path = "/api/v1/namespaces/\(pod.metadata.namespace ?? "default")/serviceaccounts/\(account)/token"
    let answer = try await client.document(KubeRequest(.post, path, body: body.encoded()))
    guard let text = answer["status"]?["token"]?.string, !text.isEmpty else {
      throw TranslationError(reason: "FailedMount", "the API server gave no token of service account \"\(account)\"")
    }
    // Its own clock says until when; ours only how long.
    return (text, answer["spec"]?["expirationSeconds"]?.integer ?? key.seconds)
  }

  func claim(_ name: String, for pod: Pod) async throws -> ClaimPlace {
    let namespace = pod.metadata.namespace ?? "default"
    let claim: PersistentVolumeClaim
    do throws(KubeError) {
      claim = try await client.get(name: name, namespace: namespace)
    } catch {
      guard error.isNotFound else { throw error }
      throw TranslationError(reason: "FailedMount", "persistentvolumeclaim \"\(name)\" not found")
    }
    guard let volume = claim.spec.volumeName, !volume.isEmpty, claim.status.phase == "Bound" else {
      throw TranslationError(reason: "FailedMount", "claim \"\(namespace)/\(name)\" is not bound to a volume yet")
    }
    let found: PersistentVolume = try await client.get(name: volume)
    guard found.spec.claimRef?.name == name, found.spec.claimRef?.namespace == namespace else {
      throw TranslationError(reason: "FailedMount", "volume \"\(volume)\" is bound to another claim")
    }
    return try ClaimPlace.of(found, provisioner: Self.provisioner)
  }
}
