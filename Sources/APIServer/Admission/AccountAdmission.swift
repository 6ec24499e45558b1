import JSON
import KubeModel
import ObjectStore

/// What a pod gets of its service account: https://kubernetes.io/docs/concepts/security/service-accounts/
extension APIServer {
  private static let mountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
  /// Seconds; a little more than an hour tells these tokens from those that somebody asked for.
  private static let tokenSeconds: Int64 = 3607
  private static let mirrorAnnotation = "kubernetes.io/config.mirror"

  func setServiceAccount(_ object: inout JSONObject, _ context: RequestContext) throws(APIStatus) {
    var spec = object[object: "spec"]
    let name = ObjectMetadata(object).name
    let named = spec.text("serviceAccountName")
    let old = spec.text("serviceAccount")
    if object[object: "metadata"][object: "annotations"][Self.mirrorAnnotation] != nil {
      // A mirror shows what a node runs from its own disk: nothing of the API belongs to it.
      guard named.isEmpty, old.isEmpty else {
        throw .forbidden(context.resource.qualified, name, "a mirror pod may not reference service accounts")
      }
      return
    }
    let chosen = !named.isEmpty ? named : !old.isEmpty ? old : "default"
    spec["serviceAccountName"] = .string(chosen)
    spec["serviceAccount"] = .string(chosen)
    guard let stored = store.get("/serviceaccounts/\(context.namespace)/\(chosen)"),
      let account = try? JSONValue.parse(stored.value)
    else {
      throw .forbidden(
        context.resource.qualified, name,
        "error looking up service account \(context.namespace)/\(chosen): serviceaccount \"\(chosen)\" not found")
    }
    if spec["imagePullSecrets"]?.array?.isEmpty ?? true, let secrets = account["imagePullSecrets"]?.array,
      !secrets.isEmpty
    {
      spec["imagePullSecrets"] = .array(secrets)
    }
    let mounts =
      spec["automountServiceAccountToken"]?.bool ?? account["automountServiceAccountToken"]?.bool ?? true
    if mounts { Self.mountToken(&spec) }
    object["spec"] = .object(spec)
  }

  /// Each container that has nothing at the place of the token gets it there.
  private static func mountToken(_ spec: inout JSONObject) {
    let volumes = spec["volumes"]?.array ?? []
    let present = volumes.first { $0.text("name").hasPrefix("kube-api-access-") }?.text("name")
    let volume = present ?? "kube-api-access-\(ObjectNames.generated(from: ""))"
    var isUsed = false
    for list in ["initContainers", "containers"] {
      guard let containers = spec[list]?.array else { continue }
      spec[list] = .array(
        containers.map { container in
          guard var fields = container.object else { return container }
          var mounts = fields["volumeMounts"]?.array ?? []
          guard !mounts.contains(where: { $0.text("mountPath") == mountPath }) else { return container }
          mounts.append(["name": .string(volume), "readOnly": true, "mountPath": .string(mountPath)])
          fields["volumeMounts"] = .array(mounts)
          isUsed = true
          return .object(fields)
        })
    }
    guard isUsed, present == nil else { return }
    spec["volumes"] = .array(volumes + [tokenVolume(volume)])
  }

  private static func tokenVolume(_ name: String) -> JSONValue {
    [
      "name": .string(name),
      "projected": [
        "sources": [
          ["serviceAccountToken": ["expirationSeconds": .integer(tokenSeconds), "path": "token"]],
          ["configMap": ["name": .string(authorityConfigMap), "items": [["key": "ca.crt", "path": "ca.crt"]]]],
          [
            "downwardAPI": [
              "items": [
                ["path": "namespace", "fieldRef": ["apiVersion": "v1", "fieldPath": "metadata.namespace"]]
              ]
            ]
          ],
        ], "defaultMode": 420,
      ],
    ]
  }
}
