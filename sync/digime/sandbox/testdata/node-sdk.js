// Drives digi.me's own Node.js SDK, unchanged, against a sandbox: node node-sdk.js SDK-FOLDER SANDBOX-URL KEY-FILE
// Every step prints one line; TestNodeSDK reads them and what the sandbox has recorded.
const fs = require("node:fs");
const path = require("node:path");
const { Readable } = require("node:stream");

const [folder, root, keyFile] = process.argv.slice(2);
const { init } = require(path.join(folder, "dist", "main"));
const sdk = init({
    applicationId: "sandbox-app",
    baseUrl: root + "/v1.7/",
    onboardUrl: root + "/apps/saas/",
    retryOptions: { limit: 0 },
});
const privateKey = fs.readFileSync(keyFile, "utf8");
const write = { contractId: "write-1", privateKey };
const read = { contractId: "read-1", privateKey };
const callback = "http://localhost:8421/callback";

const say = (...words) => console.log(words.join(" "));

const control = async (path, body) => {
    const answer = await fetch(`${root}/sandbox/${path}`, { method: "POST", body: body && JSON.stringify(body) });
    return answer.json();
};

const push = (userAccessToken, fileData, onAccessTokenChange) =>
    sdk.pushData({
        type: "library",
        contractDetails: write,
        userAccessToken,
        onAccessTokenChange,
        data: {
            fileData,
            fileName: "report.pdf",
            fileDescriptor: {
                mimeType: "application/pdf",
                accounts: [{ accountId: "P-1001" }],
                reference: ["Blood test"],
                tags: ["lab"],
            },
        },
    });

const consent = async (contractDetails, { url, codeVerifier }, user) => {
    const decided = await control("decide", { link: url, share: true, user });
    const query = new URL(decided.callback).searchParams;
    const token = await sdk.exchangeCodeForToken({ contractDetails, codeVerifier, authorizationCode: query.get("code") });
    return { token, query };
};

const refused = async (what, promise) => {
    try {
        await promise;
        say(what, "was not refused");
    } catch (error) {
        say(what, "refused", error.error?.code ?? error.response?.statusCode ?? error);
    }
};

(async () => {
    let token = await control("users", { contract: "write-1" });
    await push(token, Buffer.from("from a buffer"));
    await push(token, Readable.from([Buffer.from("from "), Buffer.from("a stream")]));
    say("pushed");

    await control(`users/${token.user.id}/expire-access`);
    const old = token;
    await push(token, Buffer.from("after a refresh"), (renewed) => (token = renewed));
    say("refreshed by push", token !== old);
    token = await sdk.refreshToken({ contractDetails: write, userAccessToken: token });
    say("refreshed", token.user.id);
    await refused("old token", sdk.refreshToken({ contractDetails: write, userAccessToken: old }));

    const asked = await sdk.getAuthorizeUrl({ contractDetails: write, callback, state: "my state", sourceType: "push" });
    const fresh = await consent(write, asked, "");
    say("authorized", fresh.token.user.id, fresh.query.get("state"));
    await push(fresh.token, Buffer.from("after authorizing"));

    const accounts = await sdk.readAccounts({ contractDetails: write, userAccessToken: fresh.token });
    const account = accounts.accounts.find((one) => one.reference === fresh.query.get("accountReference"));
    await sdk.pushData({
        type: "provider",
        contractDetails: write,
        userAccessToken: fresh.token,
        data: { resourceType: "Bundle" },
        version: "stu3",
        standard: "fhir",
        accountId: account.id,
    });
    say("pushed to a provider");

    await control(`users/${token.user.id}/kill-refresh`);
    const again = await sdk.getReauthorizeUrl({ contractDetails: write, callback, userAccessToken: token, state: "s" });
    const renewed = await consent(write, again);
    say("reauthorized", renewed.token.user.id);

    const userAccessToken = renewed.token;
    const linked = await sdk.getAuthorizeUrl({ contractDetails: read, callback, state: "s", userAccessToken });
    const reader = await consent(read, linked);
    say("linked", reader.token.user.id);

    const { session } = await sdk.readSession({ contractDetails: read, userAccessToken: reader.token });
    const files = [];
    const reading = sdk.readAllFiles({
        sessionKey: session.key,
        privateKey,
        contractId: "read-1",
        userAccessToken: reader.token,
        onFileData: (file) => files.push(`${file.fileData} ${file.fileMetadata.mimetype} ${file.fileMetadata.accounts[0].accountid}`),
        onFileError: ({ error }) => say("file", error),
    });
    const status = await reading.filePromise;
    say("read", status.state, files.toSorted().join("; "));

    await refused("redirect", sdk.getAuthorizeUrl({ contractDetails: write, callback: "http://elsewhere/", state: "s" }));
    await refused("contract", push(reader.token, Buffer.from("x")));
    await control("fail", { kind: "refresh", do: "refuse", status: 403, code: "SDKVersionInvalid", message: "too old" });
    await refused("version", sdk.refreshToken({ contractDetails: write, userAccessToken: fresh.token }));
    say("done");
})().catch((error) => {
    console.error(error, error.response?.body);
    process.exit(1);
});
