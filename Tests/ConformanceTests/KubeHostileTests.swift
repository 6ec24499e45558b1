import Testing

extension KubeTests {
  /// Requests that no good client makes: each is refused, and the server lives on.
  @Suite(.cluster) struct Hostile {
    /// Client certificates of the administrator and the node in files, for curl.
    private func certificates(_ shell: KubeShell) async throws {
      let script = """
        import base64, json, sys
        for name, path in (('admin', '\(shell.node.kubeconfig)'), ('node', '\(shell.node.path)/root/server/nodes/node1.kubeconfig')):
            text = open(path).read()
            for key in ('client-certificate-data', 'client-key-data', 'certificate-authority-data'):
                value = text.split(key)[1].split('\\n')[0].strip(' ":,')
                open(name + '-' + key.rsplit('-', 1)[0] + '.pem', 'wb').write(base64.b64decode(value))
        """
      try shell.write("split.py", script)
      try await shell.says("python3 split.py && ls admin-*.pem node-*.pem | wc -l", "6")
    }

    private static func curl(_ who: String, _ rest: String) -> String {
      "curl --silent --max-time 20 --cacert admin-certificate-authority.pem --cert \(who)-client-certificate.pem --key \(who)-client-key.pem \(rest)"
    }

    /// Status and reason of what curl gets.
    private func expect(
      _ shell: KubeShell, _ who: String, _ rest: String, _ code: Int, _ reason: String,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let script = Self.curl(who, "--write-out '%{http_code}' --output answer \(rest)") + "; echo; cat answer"
      let answer = try await shell(script)
      #expect(answer.output.hasPrefix("\(code)\n"), "\(rest): \(answer.output)", sourceLocation: sourceLocation)
      #expect(answer.output.contains(reason), "\(rest): \(answer.output)", sourceLocation: sourceLocation)
    }

    private static let api = "https://127.0.0.1:6443"

    @Test func malformedBodiesAreRefused() async throws {
      let shell = try await KubeShell.make("default")
      try await certificates(shell)
      let maps = "\(Self.api)/api/v1/namespaces/default/configmaps"
      let json = "--header 'Content-Type: application/json'"
      try await expect(shell, "admin", "\(json) --data '{\"kind\":' \(maps)", 400, "BadRequest")
      try await expect(shell, "admin", "\(json) --data '[]' \(maps)", 400, "BadRequest")
      try await expect(shell, "admin", "\(json) --data '' \(maps)", 400, "BadRequest")
      try await expect(
        shell, "admin",
        "\(json) --data '{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}' \(maps)", 400,
        "BadRequest")
      try await expect(
        shell, "admin", "--header 'Content-Type: application/vnd.kubernetes.protobuf' --data 'k8snonsense' \(maps)",
        400, "BadRequest")
      try await expect(
        shell, "admin", "--header 'Content-Type: text/x-unknown' --data '{}' \(maps)", 415, "UnsupportedMediaType")
      try await shell.says(
        "python3 -c \"print('{\\\"a\\\":' * 100000 + '1' + '}' * 100000)\" >deep.json; wc -l <deep.json", "1")
      try await expect(shell, "admin", "\(json) --data @deep.json \(maps)", 400, "BadRequest")
      try await shell.says(
        "python3 -c \"print('{\\\"apiVersion\\\":\\\"v1\\\",\\\"kind\\\":\\\"ConfigMap\\\",\\\"metadata\\\":{\\\"name\\\":\\\"x\\\"},\\\"data\\\":{\\\"a\\\":\\\"' + 'x' * (4 << 20) + '\\\"}}')\" >big.json; wc -l <big.json",
        "1")
      try await expect(shell, "admin", "\(json) --data @big.json \(maps)", 413, "RequestEntityTooLarge")
      try await shell.says(
        "python3 -c \"print('{\\\"apiVersion\\\":\\\"v1\\\",\\\"kind\\\":\\\"ConfigMap\\\",\\\"metadata\\\":{\\\"name\\\":\\\"x\\\"},\\\"data\\\":{\\\"a\\\":\\\"' + 'x' * (1200 << 10) + '\\\"}}')\" >fat.json; wc -l <fat.json",
        "1")
      try await expect(shell, "admin", "\(json) --data @fat.json \(maps)", 422, "Invalid")
      try await expect(
        shell, "admin",
        "--request PATCH --header 'Content-Type: application/json-patch+json' --data '{}' \(maps)/kube-root-ca.crt",
        400, "BadRequest")
      try await expect(
        shell, "admin",
        "--request PATCH --header 'Content-Type: application/x-patch' --data '{}' \(maps)/kube-root-ca.crt", 415,
        "UnsupportedMediaType")
      try await shell.says("kubectl get cm -o name", "configmap/kube-root-ca.crt")
    }

    @Test func wrongPathsAndMethodsAreRefused() async throws {
      let shell = try await KubeShell.make("default")
      try await certificates(shell)
      try await expect(shell, "admin", "\(Self.api)/apis/nothing.example.com/v1/things", 404, "404 page not found")
      try await expect(shell, "admin", "\(Self.api)/api/v1/namespaces/default/things/a", 404, "404 page not found")
      try await expect(
        shell, "admin", "--path-as-is '\(Self.api)/api/v1/namespaces/../../../../etc/passwd'", 404, "404 page not found"
      )
      try await expect(
        shell, "admin", "--request PUT --header 'Content-Type: application/json' --data '{}' \(Self.api)/api/v1/nodes",
        405, "MethodNotAllowed")
      try await expect(shell, "admin", "'\(Self.api)/api/v1/pods?limit=many'", 400, "BadRequest")
      try await expect(shell, "admin", "'\(Self.api)/api/v1/pods?watch=1&resourceVersion=x'", 400, "BadRequest")
      try await expect(shell, "admin", "'\(Self.api)/api/v1/pods?continue=nonsense'", 400, "BadRequest")
      try await expect(shell, "admin", "'\(Self.api)/api/v1/pods?labelSelector=%00%ff'", 400, "Bad Request")
      try await shell.says("kubectl get --raw /readyz && echo", "ok")
    }

    @Test func whoIsNobodyGetsNothing() async throws {
      let shell = try await KubeShell.make("default")
      try await certificates(shell)
      let bare = try await shell(
        "curl --silent --cacert admin-certificate-authority.pem --write-out '\\n%{http_code}' \(Self.api)/api/v1/secrets"
      )
      #expect(bare.output.hasSuffix("\n401"))
      #expect(
        bare.output.contains("\"message\":\"Unauthorized\"") || bare.output.contains("\"message\": \"Unauthorized\""),
        "\(bare.output)")
      try await shell.says(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /O=system:masters/CN=admin -keyout evil-client-key.pem -out evil-client-certificate.pem -days 2 2>/dev/null",
        "")
      let evil = try await shell(
        Self.curl("evil", "--write-out '%{http_code}' --output answer \(Self.api)/api/v1/secrets"))
      #expect(evil.code != 0 || evil.output == "401", "\(evil.output)")
      let token = try await shell(
        "curl --silent --cacert admin-certificate-authority.pem --header 'Authorization: Bearer nonsense' --write-out '%{http_code}' --output answer \(Self.api)/api/v1/pods"
      )
      #expect(token.output == "401")
      try await shell.says(
        "curl --silent --output answer --write-out '%{http_code}' --max-time 5 http://127.0.0.1:6443/ || echo", "000")
    }

    @Test func aNodeDoesWhatIsItsOwnAndNoMore() async throws {
      let shell = try await KubeShell.make("default")
      try await certificates(shell)
      try await shell.says("kubectl create secret generic hidden --from-literal=a=b", "secret/hidden created")
      try await expect(shell, "node", "\(Self.api)/api/v1/nodes/node1", 200, "Node")
      try await expect(shell, "node", "\(Self.api)/api/v1/namespaces/default/secrets/hidden", 403, "Forbidden")
      try await expect(shell, "node", "\(Self.api)/api/v1/secrets", 403, "Forbidden")
      try await expect(shell, "node", "--request DELETE \(Self.api)/api/v1/namespaces/default", 403, "Forbidden")
      try await expect(
        shell, "node",
        "--request PATCH --header 'Content-Type: application/merge-patch+json' --data '{\"status\":{}}' \(Self.api)/api/v1/nodes/node2/status",
        403, "Forbidden")
      let answer = try await shell(Self.curl("node", "\(Self.api)/api/v1/namespaces/default/secrets/hidden"))
      #expect(
        answer.output.contains(
          "User \\\"system:node:node1\\\" cannot get resource \\\"secrets\\\" in API group \\\"\\\""),
        "\(answer.output)")
    }

    @Test func theNodesServerAnswersTheApiServerOnly() async throws {
      let shell = try await KubeShell.make("default")
      try await certificates(shell)
      let answer = try await shell(
        "curl --silent --insecure --max-time 5 --write-out '%{http_code}' --output answer https://10.87.0.1:10250/pods")
      #expect(answer.code != 0 || answer.output == "401", "\(answer.output)")
      try await shell.says("kubectl get --raw /readyz && echo", "ok")
    }
  }
}
