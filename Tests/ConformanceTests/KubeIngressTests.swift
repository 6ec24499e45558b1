import JSON
import Kernel
import TestSupport
import Testing

extension KubeTests {
  /// A stranger's ingress controller, Traefik, as a process with a service account's token: it reads Ingresses and their
  /// class, leads requests to pods, and writes where it is reached into their status.
  @Suite(.cluster) struct Ingresses {
    private static let access = """
      apiVersion: v1
      kind: ServiceAccount
      metadata: {name: traefik}
      ---
      apiVersion: rbac.authorization.k8s.io/v1
      kind: ClusterRole
      metadata: {name: traefik}
      rules:
      - {apiGroups: [""], resources: [services, secrets, configmaps, nodes, namespaces], verbs: [get, list, watch]}
      - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
      - {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
      - {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update]}
      ---
      apiVersion: rbac.authorization.k8s.io/v1
      kind: ClusterRoleBinding
      metadata: {name: traefik}
      roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: traefik}
      subjects: [{kind: ServiceAccount, name: traefik, namespace: ingress}]
      ---
      apiVersion: networking.k8s.io/v1
      kind: IngressClass
      metadata: {name: traefik}
      spec: {controller: traefik.io/ingress-controller}
      """

    private static func application(_ name: String) -> String {
      """
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: \(name)}
      spec:
        selector: {matchLabels: {app: \(name)}}
        template:
          metadata: {labels: {app: \(name)}}
          spec:
            terminationGracePeriodSeconds: 1
            containers:
            - name: c
              image: localhost/busybox:1
              command: [sh, -c, "mkdir -p /www/a /www/b; for d in . a b; do echo \(name) >/www/$d/index.html; done; exec httpd -f -p 8080 -h /www"]
              readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: \(name)}
      spec: {selector: {app: \(name)}, ports: [{name: http, port: 80, targetPort: 8080}]}
      ---

      """
    }

    /// `shop.example/a` and below to one, all else of the host to the other; `other.example` as an exact path alone.
    private static let ingresses = """
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata: {name: shop}
      spec:
        ingressClassName: traefik
        rules:
        - host: shop.example
          http:
            paths:
            - {path: /a, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}
            - {path: /, pathType: Prefix, backend: {service: {name: back, port: {name: http}}}}
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata: {name: other}
      spec:
        ingressClassName: traefik
        rules:
        - host: other.example
          http:
            paths:
            - {path: /b/, pathType: Exact, backend: {service: {name: front, port: {number: 80}}}}
      """

    /// Starts Traefik beside the cluster; what it is called by is printed.
    private static func start(_ shell: KubeShell) async throws {
      let flags = [
        "--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=INFO",
        "--entrypoints.web.address=127.0.0.1:8081", "--providers.kubernetesingress=true",
        "--providers.kubernetesingress.endpoint=https://127.0.0.1:6443",
        "--providers.kubernetesingress.certauthfilepath=$PWD/ca.pem",
        "--providers.kubernetesingress.token=$(kubectl create token traefik)",
        "--providers.kubernetesingress.ingressendpoint.ip=192.0.2.80",
      ]
      try await shell.says(
        """
        kubectl config view --raw -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d > ca.pem
        "$(command -v traefik)" \(flags.map { "\"\($0)\"" }.joined(separator: " ")) > traefik.log 2>&1 &
        echo $! > traefik.pid
        """, "")
    }

    private static func answer(_ host: String, _ path: String) -> String {
      "curl --silent --max-time 5 --write-out ' %{http_code}' --header 'Host: \(host)' http://127.0.0.1:8081\(path)"
    }

    @Test func traefikLeadsRequestsToPodsByHostAndPath() async throws {
      let shell = try await KubeShell.make("ingress")
      try shell.write("all.yaml", Self.application("front") + Self.application("back") + Self.access)
      try shell.write("ingress.yaml", Self.ingresses)
      try await shell.shows(
        "kubectl apply -f all.yaml && kubectl apply -f ingress.yaml", "ingress.networking.k8s.io/shop")
      try await shell.shows(
        "kubectl rollout status deploy/front --timeout=60s && kubectl rollout status deploy/back --timeout=60s",
        "successfully rolled out")
      try await shell.tabulates("kubectl get ingressclass", "traefik traefik.io/ingress-controller <none> AGE")
      try await Self.start(shell)
      do {
        try await shell.eventually(Self.answer("shop.example", "/a/")) { $0 == "front\n 200" }
        try await shell.says(Self.answer("shop.example", "/b/") + " && echo", "back\n 200")
        try await shell.says(Self.answer("shop.example", "/") + " && echo", "back\n 200")
        try await shell.says(Self.answer("other.example", "/b/") + " && echo", "front\n 200")
        try await shell.shows(Self.answer("other.example", "/b/c"), " 404")
        try await shell.shows(Self.answer("nobody.example", "/"), " 404")
        try await shell.eventually("kubectl get ingress shop") { $0.contains("192.0.2.80") }
        try await shell.tabulates(
          "kubectl get ingress", "shop traefik shop.example 192.0.2.80 80 AGE",
          "other traefik other.example 192.0.2.80 80 AGE")
        try await shell.shows(
          "kubectl describe ingress shop", "Ingress Class:    traefik", "Address:          192.0.2.80",
          "front:80 (10.87.")
        // What changes is followed: the rule, and the pods behind it.
        let change =
          "[{\"op\":\"replace\",\"path\":\"/spec/rules/0/http/paths/0/backend/service/name\",\"value\":\"back\"}]"
        try await shell.says(
          "kubectl patch ingress shop --type=json -p '\(change)'", "ingress.networking.k8s.io/shop patched")
        try await shell.eventually(Self.answer("shop.example", "/a/")) { $0 == "back\n 200" }
        try await shell.shows(
          "kubectl rollout restart deploy/back && kubectl rollout status deploy/back --timeout=60s", "successfully")
        try await shell.eventually(Self.answer("shop.example", "/a/")) { $0 == "back\n 200" }
        try await shell.says(
          "kubectl delete ingress shop", "ingress.networking.k8s.io \"shop\" deleted from ingress namespace")
        try await shell.eventually(Self.answer("shop.example", "/")) { $0.hasSuffix(" 404") }
      } catch {
        _ = try await shell("kill -KILL $(cat traefik.pid)")
        throw error
      }
      let log = try await shell("kill $(cat traefik.pid); tail -5 traefik.log")
      // One that has ended and was not waited for has no command line any more.
      try await shell.eventually(
        "grep -c traefik /proc/$(cat traefik.pid)/cmdline 2>/dev/null || echo gone", seconds: 20
      ) {
        $0.hasSuffix("gone\n")
      }
      #expect(!log.output.contains("forbidden"), "\(log.output)")
    }
  }
}
