-- loginwall for HAProxy 2.6 or later: asks the wall about a request. haproxy.cfg uses it as
--
--     http-request lua.loginwall http://127.0.0.1:8080
--
-- afterwards txn.loginwall is the wall's status: 200, 401, 403, or anything else where it
-- could not say. With 200 the request tells who it is, to the app: what the client itself
-- claimed has gone, in every spelling, and so have the wall's cookies.

-- Apps read names without regard to case, and some take _ and . for -.
local function fold(name)
    return (name:lower():gsub("[^a-z0-9]", "-"))
end

-- tells says which header fields are statements about who somebody is or where a request
-- came from. Add the names of headers.set, if your wall's configuration has any.
local function tells(name)
    name = fold(name)
    for _, prefix in ipairs({ "x-forwarded-", "remote-", "x-remote-", "x-webauth-", "x-auth-request-", "x-loginwall-", "x-original-", "x-rewrite-" }) do
        if name:sub(1, #prefix) == prefix then
            return true
        end
    end
    return name == "forwarded" or name == "x-real-ip" or name == "proxy"
end

-- without_ours takes the wall's cookies out of a Cookie field.
local function without_ours(line)
    local kept = {}
    for pair in (line .. ";"):gmatch("([^;]*);") do
        local name = pair:match("^%s*([^=]-)%s*=") or pair:match("^%s*(.-)%s*$")
        name = name:lower():gsub("^__host%-", "")
        if name ~= "loginwall" and name:sub(1, 10) ~= "loginwall-" then
            kept[#kept + 1] = pair
        end
    end
    return (table.concat(kept, ";"):gsub("^%s+", ""))
end

-- list makes a list of HAProxy's values, which begin at 0.
local function list(values)
    local out = {}
    for i = 0, #values do
        out[#out + 1] = values[i]
    end
    return out
end

local function ask(txn, wall)
    local client = txn.http:req_get_headers()
    local question = {
        ["x-original-method"] = { txn.f:method() },
        ["x-original-url"] = { "https://" .. (txn.f:req_hdr("host") or "") .. txn.f:pathq() },
        ["x-forwarded-for"] = { txn.f:src() },
        ["x-forwarded-proto"] = { "https" },
    }
    for _, name in ipairs({ "cookie", "origin", "sec-websocket-key", "sec-websocket-version", "user-agent" }) do
        if client[name] then
            question[name] = list(client[name])
        end
    end
    local answer = core.httpclient():get({ url = wall .. "/_auth/verify", headers = question })
    txn:set_var("txn.loginwall", answer.status or 0)
    if answer.status ~= 200 then
        return
    end

    for name in pairs(client) do
        if tells(name) then
            txn.http:req_del_header(name)
        end
    end
    for name, values in pairs(answer.headers) do
        if tells(name) then
            txn.http:req_set_header(name, values[0])
        end
    end
    txn:set_var("txn.loginwall_user", answer.headers["x-forwarded-user"] and 1 or 0)
    if answer.headers["set-cookie"] then
        txn:set_var("txn.loginwall_cookie", answer.headers["set-cookie"][0])
    end
    if client["cookie"] then
        txn.http:req_del_header("cookie")
        for _, line in ipairs(list(client["cookie"])) do
            line = without_ours(line)
            if line ~= "" then
                txn.http:req_add_header("cookie", line)
            end
        end
    end
end

core.register_action("loginwall", { "http-req" }, ask, 1)
